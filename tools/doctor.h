#pragma once

/* 1: the kernel sends FUSE requests again to who asks; 0: it does not; -errno: nothing can be mounted to see it. */
int doctor_resend(void);
