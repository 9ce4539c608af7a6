// What eslint says of the widgets' and the hub's JavaScript and of its tests: `make lint`.

import js from "@eslint/js";
import globals from "globals";

export default [
  { ignores: [".venv/", "dist/", "build/"] },
  js.configs.recommended,
  {
    linterOptions: { reportUnusedDisableDirectives: "error" },
    rules: {
      eqeqeq: "error",
      curly: ["error", "multi-line"],
      "no-eval": "error",
      "no-implied-eval": "error",
      "no-new-func": "error",
      "no-var": "error",
      "prefer-const": "error",
      "object-shorthand": "error",
      "no-implicit-coercion": ["error", { number: false, boolean: true, string: true }],
      "no-promise-executor-return": "error",
      "no-self-compare": "error",
      "no-unmodified-loop-condition": "error",
      "no-use-before-define": ["error", { functions: false, classes: false, variables: false }],
      "no-unused-vars": ["error", { args: "after-used" }],
      "require-atomic-updates": "off",
      "no-restricted-properties": [
        "error",
        ...["innerHTML", "outerHTML", "insertAdjacentHTML"].map((property) => ({
          property,
          message: "Names and reasons come from documents of others: make elements with h(), which takes text as text.",
        })),
      ],
    },
  },
  { files: ["widgets/muses_widgets/js/**/*.js", "muses_lab/hub/static/*.js"], languageOptions: { globals: globals.browser } },
  { files: ["tests/js/**/*.js", "*.mjs"], languageOptions: { globals: { ...globals.node, ...globals.browser } } },
];
