import { sha256 } from "../base/digest.ts";

/**
 * The right edge of an RFC 6962 Merkle tree: the roots of the full subtrees it is made of, largest first. Enough to add
 * leaves and to give the root, in O(log n).
 */
export type Frontier = readonly Uint8Array[];

const NODE = Uint8Array.of(1);
export const hashNodes = (left: Uint8Array, right: Uint8Array): Uint8Array => sha256(NODE, left, right);

/** The frontier of `size + 1` leaves, from that of `size`. */
export function addLeaf(frontier: Frontier, size: number, leaf: Uint8Array): Frontier {
  const next = [...frontier];
  let hash = leaf;
  for (let rest = size; rest % 2 === 1; rest = Math.floor(rest / 2)) hash = hashNodes(next.pop()!, hash);
  next.push(hash);
  return next;
}

/** The root; that of an empty tree is SHA-256 of nothing. */
export function rootOf(frontier: Frontier): Uint8Array {
  if (frontier.length === 0) return sha256("");
  return [...frontier].reduceRight((right, left) => hashNodes(left, right));
}
