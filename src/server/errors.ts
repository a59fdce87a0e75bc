import { type ErrorKind, errorTable, MlpeError } from "../base/errors.ts";

export const serverErrors = errorTable("server", {
  not_found: {
    kind: "missing",
    meaning: "There is nothing at this address.",
    fix: "See the README for the addresses that exist.",
  },
  wrong_method: {
    kind: "invalid",
    meaning: "The address is there, and takes another method.",
    fix: "Use one of the methods in the Allow header.",
  },
  not_acceptable: {
    kind: "invalid",
    meaning: "The answer is asked for in a form that it can't have.",
    fix: "Accept application/x-ndjson, text/csv or application/vnd.apache.arrow.stream, or add format=json, csv or arrow to the address.",
  },
  token_needed: {
    kind: "refused",
    meaning: "Deployments, erasures, new keys and commits are only for who can read the server's data directory.",
    fix: "Use the command of that name, such as `mlpe promote`, or send `Authorization: Bearer` with the token in `server.url` of the data directory.",
  },
  foreign_host: {
    kind: "refused",
    meaning: "The Host header names something else than this machine's loopback address.",
    fix: "Ask by the address the server listens on: 127.0.0.1 or localhost, with its port.",
  },
  foreign_origin: {
    kind: "refused",
    meaning: "A page of another site sent the request.",
    fix: "Send it from a program, or from a page of this server.",
  },
  bad_parameter: {
    kind: "invalid",
    meaning: "The address has a parameter behind its `?` that it does not take, or one twice.",
    fix: "Correct its name, or leave it out.",
  },
  bad_body: {
    kind: "invalid",
    meaning: "The request body can't be read as what this address takes.",
    fix: "Send JSON as the README shows.",
  },
  body_too_large: {
    kind: "too_large",
    meaning: "The request body is over `listen.max_body`.",
    fix: "Send less at once, or raise the limit in the config.",
  },
  port_in_use: {
    kind: "unavailable",
    meaning: "The port to listen on is taken.",
    fix: "Stop the other program or choose another `listen.port` (0 picks a free one).",
  },
  cannot_listen: {
    kind: "unavailable",
    meaning: "The operating system refuses the address to listen on.",
    fix: "Correct `listen.host` and `listen.port`: ports below 1024 need rights that this user may lack.",
  },
});

/** HTTP statuses, for every kind of failure. */
const STATUSES = {
  invalid: 400,
  missing: 404,
  conflict: 409,
  refused: 403,
  unavailable: 503,
  overloaded: 429,
  unsupported: 501,
  too_large: 413,
  damaged: 500,
  internal: 500,
} as const satisfies Record<ErrorKind, number>;

/** Kinds of failure that only HTTP knows: methods and media types. */
const ONLY_HTTP = { wrong_method: 405, not_acceptable: 406 } as const;

export interface Answer {
  readonly status: (typeof STATUSES)[ErrorKind] | (typeof ONLY_HTTP)[keyof typeof ONLY_HTTP];
  readonly error: {
    readonly code: string;
    readonly message: string;
    readonly place?: string | undefined;
    readonly fix: string;
    readonly problems?: unknown;
  };
}

/** What to answer for a thrown error. Defects are named as such and say nothing of the inside. */
export function answerFor(error: unknown): Answer {
  if (!(error instanceof MlpeError)) {
    return {
      status: 500,
      error: { code: "internal", message: "an internal error", fix: "This is a defect of MLPE; please report it." },
    };
  }
  const { code, message, place, fix, problems } = error;
  return {
    status: onlyHttp(code) ?? STATUSES[error.kind],
    error: { code, message, place, fix, ...(problems.length > 1 ? { problems } : {}) },
  };
}

function onlyHttp(code: string): 405 | 406 | undefined {
  const [name, status] = Object.entries(ONLY_HTTP).find(([key]) => code === `${serverErrors.prefix}.${key}`) ?? [];
  return name === undefined ? undefined : status;
}
