// Random numbers of the node tests: from COPPICE_SEED as in tests/lib/seed.h, said at the start; splitmix64 as in tests/model/rng.h.
let seed = process.env.COPPICE_SEED === 'random' ? BigInt(Date.now()) : BigInt(process.env.COPPICE_SEED || '1795231922000')
console.log(`COPPICE_SEED=${seed}`)
// 0 to n - 1
export function random (n) {
  seed = BigInt.asUintN(64, seed + 0x9e3779b97f4a7c15n)
  let z = BigInt.asUintN(64, (seed ^ (seed >> 30n)) * 0xbf58476d1ce4e5b9n)
  z = BigInt.asUintN(64, (z ^ (z >> 27n)) * 0x94d049bb133111ebn)
  return Number((z ^ (z >> 31n)) % BigInt(n))
}
