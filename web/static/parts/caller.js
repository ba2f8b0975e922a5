// @ts-check
/** Who is asking, and the way out: nothing where nobody has to say who they are. */

import { session } from "../data/queries.js";
import { html } from "../html.js";

const NO_KEY = new Set(["loopback", "proxy"]);

export function Caller() {
  const caller = session.body?.data;
  if (caller === undefined || NO_KEY.has(caller.via)) return null;
  const sees = caller.masked.length > 0 ? ", personal values masked" : "";
  return html`<div class="caller">
    <span class="caller-name" title=${`${caller.name}: ${caller.role}${sees}`}>
      <span class="off-screen">Logged in as </span>${caller.name}<span class="caller-role"> · ${caller.role}</span>
    </span>
    ${caller.via === "session" && html`<form method="post" action="logout"><button type="submit" class="button">Log out</button></form>`}
  </div>`;
}
