import { type ErrorKind, errorTable } from "../base/errors.ts";
import type { StopSignal } from "../base/world.ts";

export const cliErrors = errorTable("cli", {
  unknown_command: { kind: "invalid", meaning: "There is no such command.", fix: "Run `mlpe help` for the list." },
  bad_usage: { kind: "invalid", meaning: "A flag or argument is wrong.", fix: "Run the command with --help." },
  no_such_file: {
    kind: "missing",
    meaning: "A file or directory named in the command or the config can't be read.",
    fix: "Check the path; it is relative to the file that names it, or to the working directory.",
  },
  not_written: {
    kind: "unavailable",
    meaning: "A file that the command makes can't be written.",
    fix: "Name a place that this user may write to, on a disk with space left.",
  },
  output_in_data: {
    kind: "refused",
    meaning:
      "The command would write into the data directory, where nothing but the log may be: unknown files are removed.",
    fix: "Name a file outside of it.",
  },
  output_exists: {
    kind: "refused",
    meaning: "The command would overwrite a file.",
    fix: "Name another file, or remove it first.",
  },
});

/** Exit codes, after sysexits.h where one fits. 0 is success, 1 is "it ran and the answer is no". */
export const EXIT_CODES: Readonly<Record<ErrorKind, number>> = {
  invalid: 65,
  missing: 66,
  conflict: 73,
  refused: 77,
  unavailable: 69,
  overloaded: 75,
  unsupported: 64,
  too_large: 65,
  damaged: 74,
  internal: 70,
};
export const EXIT_USAGE = 64;
export const EXIT_CONFIG = 78;
export const EXIT_NO = 1;
/** As a shell says it of a process that a signal ended. */
export const EXIT_STOPPED: Readonly<Record<StopSignal, number>> = { SIGINT: 130, SIGTERM: 143 };
export const EXIT_OUTPUT = 74;
