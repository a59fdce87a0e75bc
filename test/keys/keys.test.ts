import { afterAll, expect, test } from "bun:test";
import { chmodSync, mkdirSync, mkdtempSync, rmSync, statSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { toHex } from "../../src/base/bytes.ts";
import { systemRandom } from "../../src/base/random.ts";
import { fileKeyProvider } from "../../src/keys/file_provider.ts";
import { newDataKey, openKeyring } from "../../src/keys/keyring.ts";
import { keyProvider } from "../../src/keys/registry.ts";
import { open, seal } from "../../src/keys/xaes.ts";

const home = mkdtempSync(join(tmpdir(), "mlpe-keys-"));
afterAll(() => rmSync(home, { recursive: true }));
const bytes = (text: string) => new TextEncoder().encode(text);
const storeId = new Uint8Array(16).fill(5);
const dataDirectory = join(home, "data");
const fileAt = (name: string, create = true) =>
  fileKeyProvider({ path: join(home, name), dataDirectory, create }, systemRandom);
const codeOf = (run: () => unknown) => {
  try {
    run();
    return "none";
  } catch (cause) {
    return (cause as { code: string }).code;
  }
};

test("XAES-256-GCM gives the published vectors", () => {
  const nonce = bytes("ABCDEFGHIJKLMNOPQRSTUVWX");
  const text = bytes("XAES-256-GCM");
  const none = new Uint8Array(0);
  expect(toHex(seal(new Uint8Array(32).fill(1), nonce, text, none))).toBe(
    "ce546ef63c9cc60765923609b33a9a1974e96e52daf2fcf7075e2271",
  );
  expect(toHex(seal(new Uint8Array(32).fill(3), nonce, text, bytes("c2sp.org/XAES-256-GCM")))).toBe(
    "986ec1832593df5443a179437fd083bf3fdb41abd740a21f71eb769d",
  );
});

test("what is sealed opens, and nothing else does", () => {
  const key = systemRandom.bytes(32);
  fc.assert(
    fc.property(
      fc.uint8Array({ maxLength: 100 }),
      fc.uint8Array({ maxLength: 20 }),
      fc.nat(),
      (plain, additional, at) => {
        const nonce = systemRandom.bytes(24);
        const sealed = seal(key, nonce, plain, additional);
        expect(new Uint8Array(open(key, nonce, sealed, additional)!)).toEqual(new Uint8Array(plain));
        const flipped = sealed.slice();
        flipped[(at >> 3) % flipped.length]! ^= 1 << (at & 7);
        expect(open(key, nonce, flipped, additional)).toBeUndefined();
        expect(open(key, nonce, sealed, new Uint8Array([...additional, 0]))).toBeUndefined();
        expect(open(key, nonce, sealed.subarray(1), additional)).toBeUndefined();
      },
    ),
  );
});

test("the key file is made once, for its owner only, and kept", async () => {
  const wrapped = await fileAt("deep/key").wrap(systemRandom.bytes(32));
  expect(statSync(join(home, "deep/key")).mode & 0o777).toBe(0o600);
  expect(statSync(join(home, "deep/key")).size).toBe(32);
  expect((await fileAt("deep/key").unwrap(wrapped)).length).toBe(32);
});

test("a key file that others can read, of another size, inside the data, or missing is refused", () => {
  writeFileSync(join(home, "loose"), systemRandom.bytes(32), { mode: 0o600 });
  chmodSync(join(home, "loose"), 0o640);
  expect(codeOf(() => fileAt("loose"))).toBe("keys.bad_key_file");
  writeFileSync(join(home, "short"), "1234", { mode: 0o600 });
  expect(codeOf(() => fileAt("short"))).toBe("keys.bad_key_file");
  expect(codeOf(() => fileAt("data/key"))).toBe("keys.key_inside_data");
  mkdirSync(dataDirectory, { recursive: true });
  symlinkSync(dataDirectory, join(home, "link"));
  expect(codeOf(() => fileAt("link/key"))).toBe("keys.key_inside_data");
  expect(codeOf(() => fileAt("absent", false))).toBe("keys.missing_key");
  const unknown = { provider: "none", path: "x" };
  expect(codeOf(() => keyProvider(unknown, dataDirectory, true, systemRandom))).toBe("keys.unknown_provider");
});

test("a keyring opens with its own provider only, and its rows are bound to the store", async () => {
  const provider = fileAt("one");
  const row = await newDataKey(provider, 1, storeId, systemRandom);
  const keyring = await openKeyring([row], provider, storeId, systemRandom);
  const second = await openKeyring([row], provider, storeId, systemRandom);
  const sealed = keyring.seal(bytes("secret"), bytes("where"));
  expect(second.open(sealed, bytes("where"))).toEqual(bytes("secret"));
  expect(second.open(sealed, bytes("elsewhere"))).toBeUndefined();
  expect(keyring.holds(row)).toBe(true);
  expect(keyring.holds({ ...row, provider: "other" })).toBe(false);
  const failure = async (...parameters: Parameters<typeof openKeyring>) =>
    openKeyring(...parameters).catch((cause) => cause as { code: string; message: string });
  const wrong = await failure([row], fileAt("two"), storeId, systemRandom);
  expect(wrong).toMatchObject({ code: "keys.wrong_key" });
  expect(await failure([row], provider, new Uint8Array(16), systemRandom)).toMatchObject({ code: "keys.wrong_key" });
  expect(await failure([{ ...row, keyId: 2 }], provider, storeId, systemRandom)).toMatchObject({
    code: "keys.wrong_key",
  });
  expect(await failure([], provider, storeId, systemRandom)).toMatchObject({ code: "keys.wrong_key" });
});

test("chunks of a file open under their own number only", async () => {
  const provider = fileAt("one");
  const keyring = await openKeyring(
    [await newDataKey(provider, 1, storeId, systemRandom)],
    provider,
    storeId,
    systemRandom,
  );
  const chunks = keyring.chunks(1, systemRandom.bytes(24));
  const none = new Uint8Array(0);
  const sealed = chunks.seal(70_000, bytes("chunk"), none);
  expect(chunks.open(70_000, sealed, none)).toEqual(bytes("chunk"));
  expect(chunks.open(70_001, sealed, none)).toBeUndefined();
  expect(toHex(chunks.seal(1, bytes("chunk"), none))).not.toBe(toHex(chunks.seal(2, bytes("chunk"), none)));
});
