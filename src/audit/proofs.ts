import { hashNodes } from "../store/tree.ts";

/** Merkle trees as RFC 6962 (2.1) defines them, over leaves that are hashed already. */
type Hash = Uint8Array;

export function treeRoot(leaves: readonly Hash[]): Hash {
  if (leaves.length === 1) return leaves[0]!;
  const split = splitOf(leaves.length);
  return hashNodes(treeRoot(leaves.slice(0, split)), treeRoot(leaves.slice(split)));
}

/** The hashes that show leaf `index` to be under the root of `leaves`: PATH(m, D[n]). */
export function inclusionPath(leaves: readonly Hash[], index: number): Hash[] {
  if (leaves.length <= 1) return [];
  const split = splitOf(leaves.length);
  return index < split
    ? [...inclusionPath(leaves.slice(0, split), index), treeRoot(leaves.slice(split))]
    : [...inclusionPath(leaves.slice(split), index - split), treeRoot(leaves.slice(0, split))];
}

/** The root that the path leads to from a leaf; RFC 9162, 2.1.3.2. Undefined where the path can't be of that tree. */
export function rootFromPath(leaf: Hash, index: number, size: number, path: readonly Hash[]): Hash | undefined {
  if (!(index >= 0 && index < size)) return undefined;
  let hash = leaf;
  let node = index;
  let last = size - 1;
  for (const sibling of path) {
    if (last === 0) return undefined;
    if (node % 2 === 1 || node === last) {
      hash = hashNodes(sibling, hash);
      while (node % 2 === 0 && node !== 0) {
        node /= 2;
        last = Math.floor(last / 2);
      }
    } else hash = hashNodes(hash, sibling);
    node = Math.floor(node / 2);
    last = Math.floor(last / 2);
  }
  return last === 0 ? hash : undefined;
}

/** The hashes that show the first `size` leaves to be the beginning of `leaves`: PROOF(m, D[n]), for 0 < m <= n. */
export function consistencyPath(leaves: readonly Hash[], size: number): Hash[] {
  return subproof(leaves, size, true);
}

function subproof(leaves: readonly Hash[], size: number, whole: boolean): Hash[] {
  if (size === leaves.length) return whole ? [] : [treeRoot(leaves)];
  const split = splitOf(leaves.length);
  return size <= split
    ? [...subproof(leaves.slice(0, split), size, whole), treeRoot(leaves.slice(split))]
    : [...subproof(leaves.slice(split), size - split, false), treeRoot(leaves.slice(0, split))];
}

/** The largest power of two below `count`. */
function splitOf(count: number): number {
  let split = 1;
  while (split * 2 < count) split *= 2;
  return split;
}
