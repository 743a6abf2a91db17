// Starts the page. It only shows, until the reader lets it send; a key that is typed in stays in memory, is gone with the
// tab, and is not written out in the shown command.
const dark = window.matchMedia("(prefers-color-scheme: dark)");
const follow = () => document.documentElement.classList.toggle("dark-mode", dark.matches);
dark.addEventListener("change", follow);
follow();

const HIDDEN = "********";
const masked = (request) => {
  const headers = request && request.get("headers");
  if (!headers) return request;
  const secret = (name) => ["x-api-key", "authorization"].includes(String(name).toLowerCase());
  return request.set("headers", headers.map((value, name) => (secret(name) ? HIDDEN : value)));
};
// Whatever shows a request as a command gets it without the key.
const hiding = (Original, system) => (props) =>
  system.React.createElement(Original, { ...props, request: masked(props.request) });
const Masks = () => ({ wrapComponents: { curl: hiding, RequestSnippets: hiding } });

const show = (sends) => {
  const place = document.createElement("main");
  place.id = "api";
  document.getElementById("api").replaceWith(place);
  SwaggerUIBundle({
    url: "/openapi.json",
    domNode: place,
    deepLinking: true,
    displayRequestDuration: true,
    persistAuthorization: false,
    supportedSubmitMethods: sends ? ["get", "post"] : [],
    tryItOutEnabled: false,
    validatorUrl: null,
    plugins: [Masks],
  });
};

const sends = document.getElementById("sends");
sends.checked = false; // browsers remember boxes over a reload
sends.addEventListener("change", () => show(sends.checked));
show(false);
