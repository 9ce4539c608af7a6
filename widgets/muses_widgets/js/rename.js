// @ts-check
// A name that is changed where it stands.

import { h } from "./dom.js";

/**
 * Puts an input in the place of a name until Enter or a click elsewhere takes it, or Escape gives it up.
 * @param {HTMLElement} name
 * @param {string} label of the input
 * @param {(text: string) => string} fault why a name cannot be taken; empty where it can
 * @param {(text: string) => void} take called with the new name, where it is another one
 */
export function editName(name, label, fault, take) {
  const before = name.textContent ?? "";
  const input = h("input", { class: "muses-rename", type: "text", value: before, "aria-label": label, maxlength: "200" });
  input.value = before;
  let done = false;
  /** @param {boolean} keep @param {boolean} [back] the focus goes back to what had it */
  const end = (keep, back = false) => {
    const text = input.value.trim();
    const why = keep && text !== before ? fault(text) : "";
    input.setCustomValidity(why);
    if (why && back) {
      input.setAttribute("aria-invalid", "true");
      input.reportValidity();
      return;
    }
    if (done) return;
    done = true;
    input.replaceWith(name);
    if (back && opener instanceof HTMLElement) opener.focus();
    if (keep && !why && text !== before) take(text);
  };
  const opener = document.activeElement;
  input.addEventListener("keydown", (event) => {
    event.stopPropagation();
    if (event.key !== "Enter" && event.key !== "Escape") return;
    event.preventDefault(); // it would press what has the focus next
    end(event.key === "Enter", true);
  });
  input.addEventListener("input", () => input.setCustomValidity(""));
  input.addEventListener("blur", () => end(true));
  // A label around it would pass a click on to its checkbox.
  input.addEventListener("click", (event) => event.preventDefault());
  name.replaceWith(input);
  input.focus();
  input.select();
}
