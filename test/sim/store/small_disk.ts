/** Lives of a store on a small disk, which is filled now and then: `<place> <first seed> <count>`; their reports as JSON. */
import { type StoreReport, simulateStore } from "./simulate.ts";

const [place, first, count] = process.argv.slice(2) as [string, string, string];
const reports: StoreReport[] = [];
for (let seed = Number(first); seed < Number(first) + Number(count); seed++) {
  reports.push(await simulateStore(seed, { place, smallDisk: true }));
}
console.log(JSON.stringify(reports));
