import { errorTable } from "../base/errors.ts";

export const deliveryErrors = errorTable("delivery", {
  unsigned: {
    kind: "refused",
    meaning: "The model package has no signature.",
    fix: "Sign it with `mlpe model sign`, with a key whose public half is listed under `trust` in the config.",
  },
  bad_signature: {
    kind: "refused",
    meaning: "The signature of the model package is malformed, or does not match what it claims to sign.",
    fix: "Fetch the package again from where it was signed, or sign it anew.",
  },
  wrong_digest: {
    kind: "refused",
    meaning: "The signature is sound, but it signs another package: a file was changed, added or removed since.",
    fix: "Restore the files as they were signed, or review the change and sign the package again.",
  },
  untrusted_signer: {
    kind: "refused",
    meaning: "The package is signed by a key that the config does not trust.",
    fix: "Add the signer's public key (PEM) to `trust` in the config, or have the package signed by a trusted key.",
  },
  bad_key: {
    kind: "invalid",
    meaning: "A signing or trusted key can't be read as an Ed25519 key in PEM.",
    fix: "Use a key made by `mlpe model keygen` (PKCS #8 for the private key, SPKI for the public key).",
  },
  already_live: {
    kind: "conflict",
    meaning: "The package is the live one already.",
    fix: "Nothing is to be done; `mlpe model list` shows what is live.",
  },
  never_deployed: {
    kind: "missing",
    meaning: "The model has no live package.",
    fix: "Promote one first with `mlpe promote`.",
  },
  nothing_to_roll_back: {
    kind: "conflict",
    meaning: "No package was live before the present one.",
    fix: "Promote another package; a rollback needs two promotions.",
  },
  nothing_to_roll_forward: {
    kind: "conflict",
    meaning: "No rollback came last, so there is none to undo.",
    fix: "A rollforward undoes a rollback; promote a package to change what is live.",
  },
  smoke_failed: {
    kind: "refused",
    meaning: "The candidate does not load, or does not give the scores of its own golden rows on this machine.",
    fix: "Pack the model again with golden rows made from the very file that is shipped.",
  },
  regression_failed: {
    kind: "refused",
    meaning:
      "On stored live requests with known outcomes the candidate is worse than the live model by more than the margin.",
    fix: "Keep the live model, or train a better candidate; the verdict holds the figures.",
  },
  regression_inconclusive: {
    kind: "refused",
    meaning: "There are too few stored requests with known outcomes to compare the candidate with the live model.",
    fix: "Wait for more labels, or accept the risk with `--accept-inconclusive`; the verdict records that.",
  },
});
