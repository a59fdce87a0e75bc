import { createPrivateKey, createPublicKey, type KeyObject, sign, verify } from "node:crypto";
import { fromBase64, toBase64, toHex } from "../base/bytes.ts";
import { sha256 } from "../base/digest.ts";
import { readSecret } from "../store/catalogue.ts";
import type { LogStore } from "../store/store.ts";
import { addLeaf, rootOf } from "../store/tree.ts";
import { auditErrors } from "./errors.ts";

/** The size and root of the log's tree, signed: a C2SP checkpoint in a signed note. */
export interface Checkpoint {
  readonly origin: string;
  readonly size: number;
  readonly root: Uint8Array;
}

const ED25519_DER_PREFIX = 12; // bytes before the 32-byte key in an SPKI
const ALGORITHM = Uint8Array.of(0x0a, 0x01);

/** The head of the tree as it stands. Its leaves are the commits: leaf i is commit i + 1. */
export function treeHead(store: LogStore): Checkpoint {
  const { compacted, tail, head } = store.reader.snapshot();
  let frontier: readonly Uint8Array[] = compacted.frontier.map((hash) => new Uint8Array(Buffer.from(hash, "hex")));
  tail.forEach((commit, i) => {
    frontier = addLeaf(frontier, compacted.lastCommit + i, commit.leaf);
  });
  return { origin: originOf(store), size: head.commitNo, root: rootOf(frontier) };
}

/** The signed note of the tree as it stands: keep it elsewhere, and a directory that was rolled back shows. */
export function checkpoint(store: LogStore): string {
  const head = treeHead(store);
  const body = `${head.origin}\n${head.size}\n${toBase64(head.root)}\n`;
  const key = signingKey(store);
  const signature = sign(null, Buffer.from(body), key);
  const blob = new Uint8Array([...keyId(head.origin, createPublicKey(key)), ...signature]);
  return `${body}\n\u2014 ${head.origin} ${toBase64(blob)}\n`;
}

/** Ed25519 by the key that signs checkpoints, in base64. */
export function signText(store: LogStore, text: string): string {
  return toBase64(new Uint8Array(sign(null, Buffer.from(text), signingKey(store))));
}

/** The verifier key in C2SP's form, `name+id+key`: what third parties check checkpoints with. */
export function verifierKey(store: LogStore): string {
  const origin = originOf(store);
  const key = createPublicKey(signingKey(store));
  const encoded = toBase64(new Uint8Array([1, ...rawPublicKey(key)]));
  return `${origin}+${toHex(keyId(origin, key))}+${encoded}`;
}

/** The checkpoint that a note signs. Throws audit.bad_checkpoint where the note is not one of this store's. */
export function readCheckpoint(note: string, store: LogStore): Checkpoint {
  const origin = originOf(store);
  const refuse = (message: string, fix?: string) =>
    auditErrors.error("bad_checkpoint", message, { place: "--checkpoint", ...(fix === undefined ? {} : { fix }) });
  const match = /^([^\n]+)\n(\d+)\n([A-Za-z0-9+/=]+)\n\n\u2014 (\S+) ([A-Za-z0-9+/=]+)\n$/.exec(note);
  if (!match) throw refuse("the file does not have the form of a signed checkpoint");
  const [, named, size, root, signer, blob] = match;
  if (named !== origin || signer !== origin) {
    const fix =
      "Name the checkpoint of this store; if this is the one that was kept, another store stands in its place.";
    throw refuse(`it is a checkpoint of ${named}, not of ${origin}`, fix);
  }
  const key = createPublicKey(signingKey(store));
  const signature = fromBase64(blob!);
  const body = note.slice(0, note.indexOf("\n\n") + 1);
  const ours = Buffer.compare(signature.subarray(0, 4), keyId(origin, key)) === 0;
  if (!ours || !verify(null, Buffer.from(body), key, signature.subarray(4))) throw refuse("its signature is wrong");
  return { origin, size: Number(size), root: fromBase64(root!) };
}

const originOf = (store: LogStore) => `mlpe/${toHex(store.sealer.storeId)}`;

function signingKey(store: LogStore): KeyObject {
  const secret = readSecret(store.reader.database, store.sealer, "signing");
  return createPrivateKey({ key: Buffer.from(secret), format: "der", type: "pkcs8" });
}

const rawPublicKey = (key: KeyObject) =>
  new Uint8Array(key.export({ format: "der", type: "spki" }).subarray(ED25519_DER_PREFIX));

/** SHA-256(name || 0x0A || 0x01 || public key)[:4]. */
function keyId(name: string, key: KeyObject): Uint8Array {
  return sha256(name, ALGORITHM, rawPublicKey(key)).slice(0, 4);
}
