// Opens report.html in headless Chromium, as a person would: with and without script, on a desk and on a
// phone, in light and in dark; reads it with axe; sorts, filters, opens a completion with the keyboard.
//
// Usage: node check.mjs <report.html> <folder for screenshots>
// Exit codes: 0 all is well, 1 a finding, 2 could not be done.

import { mkdirSync, readFileSync, statSync } from "node:fs";
import { createRequire } from "node:module";
import { resolve } from "node:path";
import { pathToFileURL } from "node:url";
import { chromium } from "playwright-core";

const SIZE_MAX = 3_000_000;
const [file, folder = "screenshots"] = process.argv.slice(2);
if (!file) {
  console.error("usage: node check.mjs <report.html> <folder for screenshots>");
  process.exit(2);
}
const url = pathToFileURL(resolve(file)).href;
const axe = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
const findings = [];
const check = (fact, what) => fact || findings.push(what);

/** A new page on `report.html` whose faults become findings. */
async function open(browser, name, options) {
  const context = await browser.newContext(options);
  const page = await context.newPage();
  page.on("console", (message) => message.type() === "error" && findings.push(`${name}: console: ${message.text()}`));
  page.on("pageerror", (error) => findings.push(`${name}: ${error}`));
  page.on("request", (request) => {
    if (request.url() !== url && !request.url().startsWith("data:")) findings.push(`${name}: asks for ${request.url()}`);
  });
  const clock = performance.now();
  await page.goto(url);
  return { page, context, seconds: (performance.now() - clock) / 1000 };
}

/** What axe finds; it needs script, so pages without are read by their text alone. */
async function accessibility(page, name) {
  await page.evaluate(axe);
  const { violations } = await page.evaluate(() => globalThis.axe.run());
  for (const { id, help, nodes } of violations) {
    findings.push(`${name}: axe ${id}: ${help}: ${nodes.length} x ${nodes[0].html.slice(0, 120)} ${nodes[0].failureSummary?.slice(0, 300)}`);
  }
}

async function looks(page, name) {
  check((await page.locator("#gain-all").boundingBox())?.height > 100, `${name}: the main figure is not drawn`);
  check((await page.locator("#board tbody tr:visible").count()) > 2, `${name}: the table is empty`);
  const wide = await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
  check(wide <= 0, `${name}: the page is ${wide} px wider than the window`);
}

/** The legend hides and shows lines, with or without script. */
async function legend(page, name) {
  const box = page.locator(".legend input:checked").first();
  const id = await box.getAttribute("id");
  const line = page.locator(`#gain-all .r${id.slice("show-".length)}, #length-all .r${id.slice("show-".length)}`).first();
  check(await line.isVisible(), `${name}: a ticked row is not drawn`);
  await box.uncheck();
  check(!(await line.isVisible()), `${name}: an unticked row is drawn`);
  await page.locator(`#${id}`).check();
}

async function table(page, name) {
  const rows = () => page.locator("#board tbody tr:visible th").allTextContents();
  const numbers = () =>
    page.locator("#board tbody tr:visible td.l-all").evaluateAll((cells) => cells.map((cell) => Number(cell.dataset.v)));
  const before = await rows();
  const header = page.locator("#board thead th.l-all button");
  await header.click();
  const falling = await numbers();
  check(falling.every((value, i) => i === 0 || falling[i - 1] >= value), `${name}: sorting does not sort: ${falling}`);
  check((await page.locator("#board th.l-all").getAttribute("aria-sort")) === "descending", `${name}: no aria-sort`);
  await header.press("Enter");
  check((await rows()).join() !== before.join(), `${name}: sorting changes nothing`);
  check((await page.locator("#board th.l-all").getAttribute("aria-sort")) === "ascending", `${name}: the order does not turn`);
  await page.locator("#filter-kind").selectOption("regime");
  const regimes = await rows();
  check(regimes.length > 0 && regimes.length < before.length && !regimes.includes("base"), `${name}: kind filters nothing`);
  await page.locator("#filter-row").fill(regimes[0]);
  check((await rows()).every((row) => row.includes(regimes[0])), `${name}: the name filters nothing`);
  const families = await page.locator("#filter-family option").count();
  await page.locator("#filter-family").selectOption({ index: families - 1 });
  check((await page.locator("#board tbody tr:visible").first().getAttribute("data-family")) !== "all", `${name}: family filters nothing`);
  await page.locator("#filter-level").selectOption("L5");
  check(await page.locator("#board thead th.l-L5").isVisible(), `${name}: the chosen level is hidden`);
  check(!(await page.locator("#board thead th.l-L1").isVisible()), `${name}: other levels are shown`);
}

async function completion(page, name) {
  const answer = page.locator(".exhibit[open] .answer:visible").first();
  if ((await answer.count()) === 0) return findings.push(`${name}: no completion to open`);
  await answer.locator("summary").focus();
  await page.keyboard.press("Enter");
  check(await answer.locator("pre").isVisible(), `${name}: Enter opens no completion`);
  check(await answer.locator(".trace").isVisible(), `${name}: a completion has no trace`);
}

mkdirSync(folder, { recursive: true });
const size = statSync(file).size;
check(size < SIZE_MAX, `the page has ${size} bytes, the limit is ${SIZE_MAX}`);
let browser;
try {
  browser = await chromium.launch({
    executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
    args: ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
      "--disable-background-networking", "--disable-component-update", "--disable-sync"],
  });
} catch (error) {
  console.error(`failed to start Chromium: ${error.message}`);
  process.exit(2);
}
try {
for (const width of [1280, 390]) {
  for (const colorScheme of ["light", "dark"]) {
    const name = `${width}-${colorScheme}`;
    const { page, context, seconds } = await open(browser, name, { viewport: { width, height: 900 }, colorScheme, reducedMotion: "reduce" });
    await looks(page, name);
    await page.screenshot({ path: `${folder}/${name}-top.png` });
    await page.screenshot({ path: `${folder}/${name}.png`, fullPage: true });
    await legend(page, name);
    await table(page, name);
    await completion(page, name);
    await page.locator("[data-show=all]").click();
    await page.locator("details.fold > summary").first().click();
    // Axe reads what is shown: the whole legend, numbers and a completion are open by now.
    await accessibility(page, name);
    await page.locator("#theme").click();
    check((await page.locator("html").getAttribute("data-theme")) !== colorScheme, `${name}: the theme does not turn`);
    console.log(`${name}: loaded in ${seconds.toFixed(2)} s`);
    await context.close();
  }
  const name = `${width}-without-script`;
  const { page, context } = await open(browser, name, { viewport: { width, height: 900 }, javaScriptEnabled: false });
  await looks(page, name);
  await legend(page, name);
  await completion(page, name);
  await page.screenshot({ path: `${folder}/${name}.png`, fullPage: true });
  await context.close();
}
} catch (error) {
  findings.push(`stopped: ${error.message}`);
}
await browser.close();
for (const finding of findings) console.log(finding);
console.log(`${size} bytes, ${findings.length} findings, screenshots in ${folder}`);
process.exit(findings.length === 0 ? 0 : 1);
