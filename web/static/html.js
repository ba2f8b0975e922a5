// @ts-check
/** The template tag. Values always become text nodes or properties, never markup: nothing here parses HTML. */

import htm from "htm";
import { h } from "preact";

export const html = htm.bind(h);
