/**
 * No pair of key and nonce seals two different texts: in the chunks of one file, across files, and in two directories
 * that were restored from one backup and went on apart. Pairs are read from what is at rest: under which key and nonce
 * each blob and each chunk stands, with the digest of its ciphertext.
 */
import { Database } from "bun:sqlite";
import { expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { fromHex, toHex } from "../../src/base/bytes.ts";
import { sha256Hex } from "../../src/base/digest.ts";
import { type Random, seededRandom, systemRandom } from "../../src/base/random.ts";
import { batchOf } from "../../src/contract/batch.ts";
import { fileKeyProvider } from "../../src/keys/file_provider.ts";
import { newDataKey, openKeyring } from "../../src/keys/keyring.ts";
import { deriveKey, NONCE_BYTES, openDerived } from "../../src/keys/xaes.ts";
import { unpackBackup, writeBackup } from "../../src/store/backup.ts";
import { openSegment } from "../../src/store/segment_read.ts";
import { type LogStore, openStore } from "../../src/store/store.ts";
import { plainContract } from "../support/rows.ts";
import { storeHome } from "../support/store_home.ts";

const none = new Uint8Array(0);

/** The last 12 bytes of a file's nonce, the last four XORed with the chunk's number: written out anew. */
function nonceOf(file: Uint8Array, chunk: number): Uint8Array {
  const own = file.slice(12);
  for (let i = 0; i < 4; i++) own[11 - i]! ^= Math.floor(chunk / 256 ** i) % 256;
  return own;
}

test("the chunks of a file, and of many files, each have a derived key and nonce of their own", async () => {
  const { home, remove } = storeHome();
  const provider = fileKeyProvider(
    { path: join(home, "key"), dataDirectory: join(home, "d"), create: true },
    systemRandom,
  );
  const storeId = new Uint8Array(16);
  const key = systemRandom.bytes(32);
  const keyring = await openKeyring(
    [await newDataKey(provider, 1, storeId, systemRandom)],
    provider,
    storeId,
    systemRandom,
  );
  keyring.learn({ keyId: 300, stream: "s", from: 0, to: 1, key, sealed: Uint8Array.of(1) });
  const pairs = new Set<string>();
  let sealings = 0;
  for (let file = 0; file < 40; file++) {
    const nonce = systemRandom.bytes(NONCE_BYTES);
    const chunks = keyring.chunks(300, nonce);
    const derived = deriveKey(key, nonce);
    for (const chunk of [...Array(200).keys(), 255, 256, 65_535, 65_536, 2 ** 24, 2 ** 31, 2 ** 32 - 1]) {
      const sealed = chunks.seal(chunk, Uint8Array.of(file), none);
      // It is sealed under exactly this pair.
      expect(openDerived(derived, nonceOf(nonce, chunk), sealed, none)).toEqual(Uint8Array.of(file));
      pairs.add(`${toHex(derived)} ${toHex(nonceOf(nonce, chunk))}`);
      sealings++;
    }
    for (const chunk of [2 ** 32, -1, Number.NaN]) expect(() => chunks.seal(chunk, none, none)).toThrow(RangeError);
  }
  expect(pairs.size).toBe(sealings);
  remove();
});

/** Each pair of key and nonce at rest, with the digest of what is sealed under it. */
function pairsAtRest(store: LogStore): Map<string, string> {
  const pairs = new Map<string, string>();
  const database = new Database(join(store.directory, "log.db"), { readonly: true });
  const cells = ["commits.record", "secrets.sealed", "streams.sealed", "contracts.sealed"];
  for (const place of [...cells, "segments.sealed", "state.sealed", "stream_keys.sealed"]) {
    const [table, column] = place.split(".");
    for (const { cell } of database.query<{ cell: Uint8Array }, []>(`SELECT ${column} AS cell FROM ${table}`).all()) {
      pairs.set(`${cell[0]} ${toHex(cell.subarray(1, 25))}`, sha256Hex(cell.subarray(25)));
    }
  }
  database.close();
  for (const info of store.reader.snapshot().segments) {
    const file = openSegment(store.directory, info, store.sealer, store.reader.names);
    const bytes = readFileSync(join(store.directory, "segments", info.file));
    let at = 0;
    for (const [chunk, length] of [...file.footer.chunkLengths, info.bytes - info.footerAt].entries()) {
      const nonce = fromHex(info.nonce);
      const pair = `${info.keyId} ${toHex(nonce.subarray(0, 12))} ${toHex(nonceOf(nonce, chunk))}`;
      pairs.set(pair, sha256Hex(bytes.subarray(at, at + length)));
      at += length;
    }
    expect(at).toBe(bytes.length);
    file.close();
  }
  return pairs;
}

/** How many pairs two directories share, and how many of them seal different texts. */
function compared(one: ReadonlyMap<string, string>, other: ReadonlyMap<string, string>) {
  const shared = [...one].filter(([pair]) => other.has(pair));
  return { shared: shared.length, repeated: shared.filter(([pair, text]) => other.get(pair) !== text).length };
}

/** Two directories from one backup, each gone on with rows of its own. */
async function apart(randomOf: (which: number) => Random) {
  const { home, options, remove } = storeHome();
  const rows = (text: string) => batchOf(plainContract, [{ kind: text, at: 1 }]);
  const commit = (store: LogStore, text: string) =>
    store.commit({ appends: [{ stream: "landing/plain", batch: rows(text) }], cursors: { c: text } });
  const store = await openStore(options);
  await commit(store, "before");
  await store.compact();
  await commit(store, "tail");
  await writeBackup(store, join(home, "backup"));
  await store.close();
  const found: Map<string, string>[] = [];
  for (const which of [0, 1]) {
    const directory = join(home, `restored-${which}`);
    unpackBackup(join(home, "backup"), directory);
    const restored = await openStore({ ...options, directory, random: randomOf(which) });
    const pairs = pairsAtRest(restored);
    for (let c = 0; c < 20; c++) {
      await commit(restored, `row ${c} of ${which}`);
      if (c === 6 || c === 13) {
        for (const [pair, text] of pairsAtRest(restored)) pairs.set(pair, text); // a compaction removes records
        await restored.compact();
      }
    }
    for (const [pair, text] of pairsAtRest(restored)) pairs.set(pair, text);
    await restored.close();
    found.push(pairs);
  }
  remove();
  return { ...compared(found[0]!, found[1]!), sizes: found.map(({ size }) => size) };
}

test("two directories restored from one backup that go on apart never share a key and nonce for different texts", async () => {
  const { shared, repeated, sizes } = await apart(() => systemRandom);
  expect(repeated).toBe(0);
  expect(shared).toBeGreaterThan(10); // what was in the backup
  for (const size of sizes) expect(size).toBeGreaterThan(shared + 40);
});

test("repeated pairs would be seen", async () => {
  expect((await apart(() => seededRandom(1))).repeated).toBeGreaterThan(10);
});
