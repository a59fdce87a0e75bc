import { expect, test } from "bun:test";
import { createPrivateKey, createPublicKey, sign, verify } from "node:crypto";
import { newEd25519Key, seededRandom } from "../../src/base/random.ts";

test("an Ed25519 key is its 32 random bytes and nothing else", () => {
  const der = newEd25519Key(seededRandom(7));
  expect(newEd25519Key(seededRandom(7))).toEqual(der);
  expect(newEd25519Key(seededRandom(8))).not.toEqual(der);
  expect([...der.slice(-32)]).toEqual([...seededRandom(7).bytes(32)]);
  const key = createPrivateKey({ key: Buffer.from(der), format: "der", type: "pkcs8" });
  expect(key.asymmetricKeyType).toBe("ed25519");
  expect(Buffer.compare(key.export({ format: "der", type: "pkcs8" }), der)).toBe(0);
  const message = Buffer.from("message");
  expect(verify(null, message, createPublicKey(key), sign(null, message, key))).toBe(true);
});
