import { expect, test } from "bun:test";
import { createPublicKey, generateKeyPairSync, verify } from "node:crypto";
import { seededRandom, systemRandom } from "../../src/base/random.ts";
import {
  generateSigningKey,
  keyFingerprint,
  PACKAGE_PREDICATE,
  preAuthEncoding,
  signPackage,
  signStatement,
  statementAbout,
  verifyPackage,
} from "../../src/delivery/sign.ts";

const digest = `sha256:${"ab".repeat(32)}`;
const other = `sha256:${"cd".repeat(32)}`;
const key = generateSigningKey(seededRandom(1));
const stranger = generateSigningKey(seededRandom(2));
const signed = signPackage(digest, key.privatePem);

function codeOf(act: () => unknown): string {
  try {
    act();
  } catch (error) {
    return (error as { code?: string }).code ?? String(error);
  }
  return "no error";
}

/** The bundle with one change made to its parsed form. */
function altered(change: (bundle: ReturnType<typeof JSON.parse>) => void): string {
  const bundle = JSON.parse(signed);
  change(bundle);
  return JSON.stringify(bundle);
}

test("a signed package verifies with the right key among others, and names the signer", () => {
  const { signer } = verifyPackage(digest, signed, [stranger.publicPem, key.publicPem]);
  expect(signer).toBe(keyFingerprint(key.publicPem));
  expect(signer).toMatch(/^sha256:[0-9a-f]{64}$/);
});

test("the bundle is a Sigstore bundle v0.3 that a plain DSSE verifier accepts", () => {
  const bundle = JSON.parse(signed);
  expect(bundle.mediaType).toBe("application/vnd.dev.sigstore.bundle.v0.3+json");
  const { payload, payloadType, signatures } = bundle.dsseEnvelope;
  const body = Buffer.from(payload, "base64");
  // PAE written out by hand, not through the code under test.
  const pae = Buffer.concat([Buffer.from(`DSSEv1 ${payloadType.length} ${payloadType} ${body.length} `), body]);
  const signature = Buffer.from(signatures[0].sig, "base64");
  expect(verify(null, pae, createPublicKey(key.publicPem), signature)).toBe(true);
  expect(JSON.parse(body.toString())).toEqual({
    _type: "https://in-toto.io/Statement/v1",
    subject: [{ name: "package", digest: { sha256: "ab".repeat(32) } }],
    predicateType: PACKAGE_PREDICATE,
    predicate: {},
  });
});

test("the pre-authentication encoding is that of the DSSE specification", () => {
  const body = new TextEncoder().encode("hello world");
  const text = new TextDecoder().decode(preAuthEncoding("http://example.com/HelloWorld", body));
  expect(text).toBe("DSSEv1 29 http://example.com/HelloWorld 11 hello world");
});

test("signing is deterministic", () => {
  expect(signPackage(digest, key.privatePem)).toBe(signed);
  expect(generateSigningKey(seededRandom(1))).toEqual(key);
  expect(generateSigningKey(systemRandom).privatePem).not.toBe(generateSigningKey(systemRandom).privatePem);
});

const trusted = [key.publicPem];
const flipBit = (base64: string) => {
  const bytes = Buffer.from(base64, "base64");
  bytes[10]! ^= 1;
  return bytes.toString("base64");
};
const relabelled = (predicateType: string) =>
  signStatement(statementAbout(digest, "package", predicateType, {}), key.privatePem);

const refused: readonly (readonly [string, string, () => unknown])[] = [
  ["no file", "delivery.unsigned", () => verifyPackage(digest, null, trusted)],
  ["an empty file", "delivery.unsigned", () => verifyPackage(digest, " \n", trusted)],
  ["text", "delivery.bad_signature", () => verifyPackage(digest, "not json", trusted)],
  ["another JSON", "delivery.bad_signature", () => verifyPackage(digest, "{}", trusted)],
  ["too long", "delivery.bad_signature", () => verifyPackage(digest, `${signed}${" ".repeat(300_000)}`, trusted)],
  ["another package", "delivery.wrong_digest", () => verifyPackage(other, signed, trusted)],
  ["an unknown signer", "delivery.untrusted_signer", () => verifyPackage(digest, signed, [stranger.publicPem])],
  ["no trusted keys", "delivery.untrusted_signer", () => verifyPackage(digest, signed, [])],
  ["a test result", "delivery.bad_signature", () => verifyPackage(digest, relabelled("https://x/y"), trusted)],
  [
    "a flipped signature bit",
    "delivery.bad_signature",
    () => {
      const text = altered((b) => {
        b.dsseEnvelope.signatures[0].sig = flipBit(b.dsseEnvelope.signatures[0].sig);
      });
      return verifyPackage(digest, text, trusted);
    },
  ],
  [
    "a swapped payload",
    "delivery.bad_signature",
    () => {
      const text = altered((b) => {
        const statement = statementAbout(other, "package", PACKAGE_PREDICATE, {});
        b.dsseEnvelope.payload = Buffer.from(JSON.stringify(statement)).toString("base64");
      });
      return verifyPackage(other, text, trusted);
    },
  ],
  [
    "another payload type",
    "delivery.bad_signature",
    () => {
      const text = altered((b) => {
        b.dsseEnvelope.payloadType = "text/plain";
      });
      return verifyPackage(digest, text, trusted);
    },
  ],
  [
    "two signatures",
    "delivery.bad_signature",
    () => {
      const text = altered((b) => b.dsseEnvelope.signatures.push(b.dsseEnvelope.signatures[0]));
      return verifyPackage(digest, text, trusted);
    },
  ],
  [
    "no signature",
    "delivery.bad_signature",
    () => {
      const text = altered((b) => b.dsseEnvelope.signatures.splice(0));
      return verifyPackage(digest, text, trusted);
    },
  ],
  ["a broken trusted key", "delivery.bad_key", () => verifyPackage(digest, signed, ["-----BEGIN nonsense"])],
  ["a private key as trusted", "delivery.bad_key", () => verifyPackage(digest, signed, [key.privatePem])],
  ["a broken private key", "delivery.bad_key", () => signPackage(digest, "nonsense")],
  [
    "an EC key",
    "delivery.bad_key",
    () => {
      const pair = generateKeyPairSync("ec", { namedCurve: "P-256" });
      return signPackage(digest, pair.privateKey.export({ format: "pem", type: "pkcs8" }) as string);
    },
  ],
];

test.each(refused)("refused: %s", (_, code, act) => {
  expect(codeOf(act)).toBe(code);
});

test("the key hint is never trusted: a forged hint does not help, and a wrong one does not hurt", () => {
  const forged = JSON.parse(signPackage(digest, stranger.privatePem));
  forged.dsseEnvelope.signatures[0].keyid = keyFingerprint(key.publicPem);
  expect(codeOf(() => verifyPackage(digest, JSON.stringify(forged), trusted))).toBe("delivery.bad_signature");
  const misnamed = altered((bundle) => {
    bundle.dsseEnvelope.signatures[0].keyid = "someone else";
  });
  expect(verifyPackage(digest, misnamed, trusted).signer).toBe(keyFingerprint(key.publicPem));
});
