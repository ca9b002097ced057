// Rules of this house that the linter does not bring along. JavaScript, because
// the linter loads it with whatever Node it is started on.

/** @param {{ accessibility?: string | null }} node */
const saysPrivate = (node) => node.accessibility === "private";

const noPrivateKeyword = {
  meta: {
    type: "problem",
    messages: { private: 'Write "#name": the keyword "private" keeps nobody out at run time' },
  },
  create(context) {
    const check = (node) => {
      if (saysPrivate(node)) context.report({ node, messageId: "private" });
    };
    return {
      PropertyDefinition: check,
      AccessorProperty: check,
      TSParameterProperty: check,
      // A private constructor is the one thing that "#" cannot say.
      MethodDefinition(node) {
        if (node.kind !== "constructor") check(node);
      },
    };
  },
};

export default { meta: { name: "heddle" }, rules: { "no-private-keyword": noPrivateKeyword } };
