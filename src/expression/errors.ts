import { errorTable } from "../base/errors.ts";

export const expressionErrors = errorTable("expression", {
  syntax: {
    kind: "invalid",
    meaning: "The text is not a SQL expression.",
    fix: "Correct the expression at the place shown.",
  },
  not_one_expression: {
    kind: "invalid",
    meaning: "The text is more, or less, than one scalar SQL expression.",
    fix: "Write one expression, without FROM, AS, ORDER BY, commas or a second statement.",
  },
  too_large: {
    kind: "too_large",
    meaning: "The expression is longer or nested deeper than is allowed.",
    fix: "Split it into several named expressions.",
  },
  unknown_column: {
    kind: "invalid",
    meaning: "The expression reads a column that does not exist here.",
    fix: "Use one of the columns in scope.",
  },
  ambiguous_column: {
    kind: "invalid",
    meaning: "The name could mean more than one thing.",
    fix: "Rename the column, or write the name between backticks.",
  },
  unknown_function: {
    kind: "refused",
    meaning: "The function is not on the list of functions that expressions may use.",
    fix: "Use a function of the library; the README lists them.",
  },
  arguments: {
    kind: "invalid",
    meaning: "A function was given arguments it does not take.",
    fix: "Give the function the arguments its documentation names.",
  },
  type_mismatch: {
    kind: "invalid",
    meaning: "Values of types that do not go together are combined or compared.",
    fix: "Convert one side explicitly.",
  },
  integer_division: {
    kind: "refused",
    meaning: "Two whole numbers are divided with /, which would drop the fraction silently.",
    fix: "Write div(a, b) for the whole quotient, or double(a) / b for the exact one.",
  },
  not_boolean: {
    kind: "invalid",
    meaning: "A condition is expected where the value is not a boolean.",
    fix: "Compare it with something, as in x <> 0.",
  },
  forbidden: {
    kind: "refused",
    meaning: "This SQL construct is not allowed in expressions.",
    fix: "Use the scalar operators and functions of the library.",
  },
  double_quoted: {
    kind: "refused",
    meaning: "Double quotes mean a column or a text, depending on what exists.",
    fix: "Write 'text' in single quotes, and a column by its plain name or between backticks.",
  },
  cast: {
    kind: "refused",
    meaning: "CAST is allowed from number to number only.",
    fix: "For text use try_int, try_long, try_double, try_timestamp or try_date.",
  },
  literal: {
    kind: "invalid",
    meaning: "A literal is outside what can be represented, or not what is needed here.",
    fix: "Correct the literal.",
  },
  wrong_result: {
    kind: "invalid",
    meaning: "The expression has another type than is needed here.",
    fix: "Convert the result, or change the declared type.",
  },
  aggregate: {
    kind: "invalid",
    meaning: "The text is not one aggregate call.",
    fix: "Write count(*), or count, sum, avg, min, max or std of one expression.",
  },
  closed: {
    kind: "unavailable",
    meaning: "The compiled expressions were closed.",
    fix: "Compile them again.",
  },
});

export type ExpressionErrorName = keyof typeof expressionErrors.entries;
