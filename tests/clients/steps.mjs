// The steps of a test of a client: each says "ok WHO: WHAT", so that a script can count them. The first that fails ends the program, or with goOn it says "not ok" and the others follow.
export function steps(who, { goOn = false } = {}) {
    let passed = 0;
    const step = async (what, fn) => {
        try {
            await fn();
        } catch (err) {
            if (!goOn) throw err;
            console.log(`not ok ${who}: ${what}: ${String(err.stack ?? err).replaceAll('\n', ' | ')}`);
            process.exitCode = 1;
            return;
        }
        passed++;
        console.log(`ok ${who}: ${what}`);
    };
    return { step, end: () => console.log(`${who}: ${passed} passed`) };
}
