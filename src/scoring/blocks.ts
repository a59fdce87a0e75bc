import type { Session, Tensor, TensorData, Tensors } from "./tensor.ts";

/** Rows of a block: a run of 64 costs about as much as two runs of one row. */
export const BLOCK_ROWS = 64;
/** Rows of every run of a model whose kernels sum one row in another order than many: costs no more than a run of one. */
export const PADDED_ROWS = 8;
/** Fewer rows than this say too little about whether a block changes bits. */
const EVIDENCE_ROWS = 8;

export interface Runnable {
  readonly session: Session;
  readonly blockRows?: number;
  /** Every run has exactly `blockRows` rows: fewer are filled up with copies. A row alone is a run of copies of it. */
  readonly padded?: boolean;
}

/**
 * Runs rows (each with a first dimension of 1) and gives each row's outputs. Whole blocks of `blockRows` go together, the
 * rest alone, or filled up where runs are padded. Of each block one row is run alone too: should it differ, so was the
 * evidence, and the block is run again row by row.
 */
export function runRows(model: Runnable, rows: readonly Tensors[]): Tensors[] {
  const { session, blockRows: size = 1, padded = false } = model;
  const results: Tensors[] = [];
  if (size > 1) {
    while (rows.length - results.length >= (padded ? 2 : size)) {
      const block = rows.slice(results.length, results.length + size);
      const together = runBlock(session, filledUp(block, size)).slice(0, block.length);
      const sample = Math.floor(results.length / size) % block.length;
      const holds = sameBits(together[sample]!, runAlone(session, block[sample]!, padded ? size : 1));
      results.push(...(holds ? together : block.map((row) => runAlone(session, row, padded ? size : 1))));
    }
  }
  for (const row of rows.slice(results.length)) results.push(runAlone(session, row, padded ? size : 1));
  return results;
}

const filledUp = (rows: readonly Tensors[], size: number): readonly Tensors[] =>
  rows.length === size ? rows : Array.from({ length: size }, (_, i) => rows[i] ?? rows[0]!);

const runAlone = (session: Session, row: Tensors, copies: number): Tensors =>
  copies === 1 ? session.run(row) : runBlock(session, filledUp([row], copies))[0]!;

/**
 * Whether these rows have the same bits in a block of `size` as alone (padded: as a block of copies), each in several
 * places of it. False where there are too few rows to say, or where an input or output has no row dimension.
 */
export function blockChangesNothing(
  session: Session,
  rows: readonly Tensors[],
  size: number = BLOCK_ROWS,
  padded = false,
): boolean {
  if (rows.length < EVIDENCE_ROWS) return false;
  if ([...session.inputs, ...session.outputs].some(({ shape }) => shape[0] !== -1)) return false;
  const alone = rows.map((row) => runAlone(session, row, padded ? size : 1));
  for (let start = 0; start < rows.length; start += size / EVIDENCE_ROWS) {
    const places = Array.from({ length: size }, (_, i) => (start + i) % rows.length);
    const together = runBlock(
      session,
      places.map((place) => rows[place]!),
    );
    if (!places.every((place, i) => sameBits(together[i]!, alone[place]!))) return false;
  }
  return true;
}

function runBlock(session: Session, rows: readonly Tensors[]): Tensors[] {
  const feeds: Record<string, Tensor> = {};
  for (const { name } of session.inputs) feeds[name] = joined(rows.map((row) => row[name]!));
  const results = session.run(feeds);
  return rows.map((_, i) => {
    const own: Record<string, Tensor> = {};
    for (const [name, tensor] of Object.entries(results)) own[name] = rowOf(tensor, i, rows.length);
    return own;
  });
}

function joined(tensors: readonly Tensor[]): Tensor {
  const { datatype, shape, data } = tensors[0]!;
  const whole = [tensors.length, ...shape.slice(1)];
  if (Array.isArray(data))
    return { datatype, shape: whole, data: tensors.flatMap((tensor) => tensor.data as string[]) };
  const first = data as Float32Array;
  const all = new (first.constructor as typeof Float32Array)(first.length * tensors.length);
  for (let i = 0; i < tensors.length; i++) all.set(tensors[i]!.data as Float32Array, i * first.length);
  return { datatype, shape: whole, data: all };
}

function rowOf(tensor: Tensor, row: number, rows: number): Tensor {
  const width = tensor.data.length / rows;
  const data = tensor.data.slice(row * width, (row + 1) * width) as TensorData;
  return { datatype: tensor.datatype, shape: [1, ...tensor.shape.slice(1)], data };
}

/** Object.is tells -0 from 0, and holds for NaN, whose bits no score carries. */
function sameBits(a: Tensors, b: Tensors): boolean {
  return Object.entries(a).every(([name, { data }]) => {
    const other = b[name]?.data;
    if (other?.length !== data.length) return false;
    for (let i = 0; i < data.length; i++) if (!Object.is(data[i], other[i])) return false;
    return true;
  });
}
