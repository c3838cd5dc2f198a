// Text of others is shown through textContent only, and what is invisible in it as an escape.

const HIDDEN = /[\p{Cc}\p{Cf}\p{Cs}\p{Co}\p{Cn}\p{Zl}\p{Zp}]/gu;

const escaped = (c) => `\\u${c.codePointAt(0).toString(16).padStart(4, "0")}`;

/** The text with control, direction and invisible characters as escapes; line feeds stay. */
export function visible(text) {
  return text.split("\n").map((line) => line.replace(HIDDEN, escaped)).join("\n");
}

/** The same with a mark at each line feed. */
export function marked(text) {
  return visible(text).replaceAll("\n", "↵\n");
}

/** An element with a class and a text. */
export function element(tag, className = "", text = "") {
  const made = document.createElement(tag);
  if (className) made.className = className;
  made.textContent = text;
  return made;
}

/** A number with two digits behind the point; a dash if there is none. */
export function figure(value) {
  if (!Number.isFinite(value)) return "–";
  return value.toFixed(2).replace(/^-(?!0\.00$)/, "−").replace("-", "");
}

/** "1 token", "2 tokens". */
export function counted(number, word) {
  return `${number} ${word}${number === 1 ? "" : "s"}`;
}
