import {
  createPrivateKey,
  createPublicKey,
  type KeyObject,
  sign as signBytes,
  timingSafeEqual,
  verify as verifyBytes,
} from "node:crypto";
import { z } from "zod";
import { concatBytes, fromBase64, toBase64, toHex } from "../base/bytes.ts";
import { canonicalJson, sha256 } from "../base/digest.ts";
import { invariant } from "../base/errors.ts";
import { newEd25519Key, type Random } from "../base/random.ts";
import { SIGNATURE_FILE } from "../contract/model_package.ts";
import { deliveryErrors } from "./errors.ts";

/**
 * Signatures of model packages, offline: a DSSE envelope (github.com/secure-systems-lab/dsse, v1.0.2) over an in-toto
 * Statement v1, signed with Ed25519, inside a Sigstore bundle v0.3. Nothing here reads or writes a file: the package
 * digest and the bundle's text come in as arguments.
 */

export const PACKAGE_PREDICATE = "https://mlpe.dev/package/v1";
/** A bundle of ours is about 1 KiB; anything far larger is not read. */
const BUNDLE_BYTES_MAX = 256 * 1024;

const BUNDLE_TYPE = "application/vnd.dev.sigstore.bundle.v0.3+json";
const PAYLOAD_TYPE = "application/vnd.in-toto+json";
const STATEMENT_TYPE = "https://in-toto.io/Statement/v1";

/** An in-toto Statement v1 about one package. */
export interface Statement {
  readonly _type: typeof STATEMENT_TYPE;
  readonly subject: readonly [{ readonly name: string; readonly digest: { readonly sha256: string } }];
  readonly predicateType: string;
  readonly predicate: unknown;
}

export interface SigningKey {
  /** PKCS #8. Whoever holds it can sign: it belongs outside the data directory and outside any package. */
  readonly privatePem: string;
  /** SPKI: what `trust` in the config points at. */
  readonly publicPem: string;
}

/** A new Ed25519 key pair (RFC 8032; PEM as in RFC 8410). */
export function generateSigningKey(random: Random): SigningKey {
  const key = createPrivateKey({ key: Buffer.from(newEd25519Key(random)), format: "der", type: "pkcs8" });
  return {
    privatePem: key.export({ format: "pem", type: "pkcs8" }) as string,
    publicPem: createPublicKey(key).export({ format: "pem", type: "spki" }) as string,
  };
}

/** The name of a key in messages and records: `sha256:<hex>` of its SPKI form. Throws delivery.bad_key. */
export function keyFingerprint(publicPem: string): string {
  return fingerprintOf(readPublicKey(publicPem));
}

/** A statement about the package of that digest (`sha256:<hex>`). */
export function statementAbout(digest: string, name: string, predicateType: string, predicate: unknown): Statement {
  return { _type: STATEMENT_TYPE, subject: [{ name, digest: { sha256: hexOf(digest) } }], predicateType, predicate };
}

/**
 * The text of `signature.json` for the package of that digest (`sha256:<hex>`). The same digest and key give the same
 * bytes. Throws delivery.bad_key.
 */
export function signPackage(digest: string, privateKeyPem: string): string {
  return signStatement(statementAbout(digest, "package", PACKAGE_PREDICATE, {}), privateKeyPem);
}

/** A Sigstore bundle over any statement: gate attestations are signed in the same way. Throws delivery.bad_key. */
export function signStatement(statement: Statement, privateKeyPem: string): string {
  const key = readPrivateKey(privateKeyPem);
  const hint = fingerprintOf(createPublicKey(key));
  const payload = new TextEncoder().encode(canonicalJson(statement));
  const signature = signBytes(null, preAuthEncoding(PAYLOAD_TYPE, payload), key);
  const bundle = {
    mediaType: BUNDLE_TYPE,
    verificationMaterial: { publicKey: { hint }, tlogEntries: [] },
    dsseEnvelope: {
      payload: toBase64(payload),
      payloadType: PAYLOAD_TYPE,
      signatures: [{ sig: toBase64(signature), keyid: hint }],
    },
  };
  return `${JSON.stringify(bundle, null, 2)}\n`;
}

/**
 * That one of the trusted keys signed the package of exactly this digest. The key hint in a bundle chooses words of an
 * error and nothing else: every trusted key is tried. The payload is not parsed before its signature holds.
 * Throws delivery.unsigned, bad_signature, wrong_digest, untrusted_signer or bad_key.
 */
export function verifyPackage(
  digest: string,
  bundleText: string | null,
  trustedPublicKeysPem: readonly string[],
): { readonly signer: string } {
  if (bundleText === null || bundleText.trim() === "") {
    throw deliveryErrors.error("unsigned", `package ${digest} has no ${SIGNATURE_FILE}`, { place: SIGNATURE_FILE });
  }
  const { statement, signer } = verifyStatement(bundleText, trustedPublicKeysPem);
  if (statement.predicateType !== PACKAGE_PREDICATE) {
    const message = `the signed statement is a ${statement.predicateType}, not a package signature`;
    throw deliveryErrors.error("bad_signature", message, { place: SIGNATURE_FILE });
  }
  const signed = statement.subject[0].digest.sha256;
  if (!timingSafeEqual(sha256(signed), sha256(hexOf(digest)))) {
    const message = `the signature is for sha256:${signed}, but the package is ${digest}`;
    throw deliveryErrors.error("wrong_digest", message, { place: SIGNATURE_FILE });
  }
  return { signer };
}

const bundleSchema = z.object({
  mediaType: z.literal(BUNDLE_TYPE),
  verificationMaterial: z.object({ publicKey: z.object({ hint: z.string() }).optional() }),
  dsseEnvelope: z.object({
    payload: z.base64(),
    payloadType: z.literal(PAYLOAD_TYPE),
    signatures: z
      .array(z.object({ sig: z.base64(), keyid: z.string().optional() }))
      .length(1, "a bundle has exactly one signature"),
  }),
});

const statementSchema = z.object({
  _type: z.literal(STATEMENT_TYPE),
  subject: z
    .array(z.object({ name: z.string(), digest: z.object({ sha256: z.string().regex(/^[0-9a-f]{64}$/) }) }))
    .length(1, "the statement is about exactly one package"),
  predicateType: z.string(),
  predicate: z.unknown(),
});

/** The statement of a bundle and which of the trusted keys signed it; errors as in `verifyPackage`. */
function verifyStatement(
  bundleText: string,
  trustedPublicKeysPem: readonly string[],
): { readonly statement: Statement; readonly signer: string } {
  if (bundleText.length > BUNDLE_BYTES_MAX) {
    const message = `the bundle has ${bundleText.length} characters; at most ${BUNDLE_BYTES_MAX} are read`;
    throw deliveryErrors.error("bad_signature", message, { place: SIGNATURE_FILE });
  }
  const { dsseEnvelope } = parseJson(bundleSchema, bundleText, "the bundle");
  const payload = fromBase64(dsseEnvelope.payload);
  const { sig, keyid } = dsseEnvelope.signatures[0]!;
  const signature = fromBase64(sig);
  const signed = preAuthEncoding(dsseEnvelope.payloadType, payload);
  const trusted = trustedPublicKeysPem.map(readPublicKey);
  const signer = trusted.find((key) => verifyBytes(null, signed, key, signature));
  if (signer === undefined) {
    const known = trusted.some((key) => fingerprintOf(key) === keyid);
    if (known) {
      const message = `the signature does not match what it signs, for the key ${keyid}`;
      throw deliveryErrors.error("bad_signature", message, { place: SIGNATURE_FILE });
    }
    const message = `none of the ${trusted.length} trusted keys made this signature (it names the key ${keyid ?? "-"})`;
    throw deliveryErrors.error("untrusted_signer", message, { place: SIGNATURE_FILE });
  }
  const text = new TextDecoder().decode(payload);
  const statement = parseJson(statementSchema, text, "the signed statement") as unknown as Statement;
  return { statement, signer: fingerprintOf(signer) };
}

/** `DSSEv1 SP len(type) SP type SP len(body) SP body`: what is signed, so that type and body can't be shifted. */
export function preAuthEncoding(type: string, body: Uint8Array): Uint8Array {
  const typeLength = new TextEncoder().encode(type).length;
  return concatBytes([new TextEncoder().encode(`DSSEv1 ${typeLength} ${type} ${body.length} `), body]);
}

function parseJson<T>(schema: z.ZodType<T>, text: string, what: string): T {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (cause) {
    throw deliveryErrors.error("bad_signature", `${what} is not JSON`, { place: SIGNATURE_FILE, cause });
  }
  const parsed = schema.safeParse(value);
  if (parsed.success) return parsed.data;
  const issue = parsed.error.issues[0]!;
  const message = `${what} is malformed at ${issue.path.join(".") || "its top"}: ${issue.message}`;
  throw deliveryErrors.error("bad_signature", message, { place: SIGNATURE_FILE });
}

function readPrivateKey(pem: string): KeyObject {
  return readKey("private", () => createPrivateKey(pem));
}

function readPublicKey(pem: string): KeyObject {
  if (pem.includes("PRIVATE KEY")) {
    throw deliveryErrors.error("bad_key", "a private key stands where a public key belongs", {
      fix: "List the public key under `trust`, and move the private key to where only the signer reads it.",
    });
  }
  return readKey("public", () => createPublicKey(pem));
}

function readKey(kind: "private" | "public", read: () => KeyObject): KeyObject {
  let key: KeyObject;
  try {
    key = read();
  } catch {
    throw deliveryErrors.error("bad_key", `the ${kind} key is not a key in PEM`); // no cause: it may quote the key
  }
  if (key.asymmetricKeyType !== "ed25519") {
    throw deliveryErrors.error("bad_key", `the ${kind} key is of type ${key.asymmetricKeyType}, not Ed25519`);
  }
  return key;
}

function fingerprintOf(key: KeyObject): string {
  return `sha256:${toHex(sha256(key.export({ format: "der", type: "spki" })))}`;
}

function hexOf(digest: string): string {
  const match = /^(?:sha256:)?([0-9a-f]{64})$/.exec(digest);
  invariant(match, `"${digest}" is no package digest`);
  return match[1]!;
}
