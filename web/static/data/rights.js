// @ts-check
/** What the caller may do, and in words why not: a button that is off must say so. */

import { session } from "./queries.js";

const ROLES = ["none", "viewer", "auditor", "admin"];

/**
 * Why the caller may not do what needs a role; "" when it may, or when nobody knows yet who asks.
 * @param {"viewer" | "auditor" | "admin"} needed
 */
export function whyNot(needed) {
  const caller = session.body?.data;
  if (caller === undefined || ROLES.indexOf(caller.role) >= ROLES.indexOf(needed)) return "";
  return `This needs the role ${needed}; ${caller.name} has the role ${caller.role}.`;
}
