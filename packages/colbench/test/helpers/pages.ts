/** Six pages, and the same pages with one thing changed. */

interface Look {
  texts: readonly string[];
  /** Of the background, the boxes, the text. */
  palette: readonly [string, string, string];
  columns: number;
  styled: boolean;
}

const link = '<link rel="stylesheet" href="https://cdn.jsdelivr.net/npm/tailwindcss@2.2.19/dist/tailwind.min.css">';
const boxes = (texts: readonly string[], box: (text: string) => string) => texts.slice(1, 7).map(box).join('');

/** The class of the body, and its content. */
const bodies: Record<string, (look: Look) => [string, string]> = {
  cards: ({ texts, palette: [ground, box, ink], columns }) => [
    `bg-${ground}-100`,
    `<h1 class="text-4xl p-8 text-${ink}-800">${texts[0]}</h1><div class="grid grid-cols-${columns} gap-6 p-8">${boxes(
      texts,
      (text) =>
        `<div class="bg-${box}-400 p-6 rounded text-${ink}-900"><h2 class="text-xl">${text}</h2><p>${texts[7]}</p></div>`,
    )}</div>`,
  ],
  hero: ({ texts, palette: [ground, box, ink], columns }) => [
    '',
    `<header class="bg-${box}-700 text-white p-6 flex justify-between"><b>${texts[0]}</b><a>${texts[1]}</a></header>
    <section class="bg-${ground}-200 py-24 text-center"><h1 class="text-6xl text-${ink}-700">${texts[3]}</h1><p>${texts[7]}</p>
    <button class="bg-${box}-500 text-white px-6 py-2 mt-6 rounded">${texts[4]}</button></section>
    <div class="grid grid-cols-${columns} gap-2 p-4">${boxes(texts, (text) => `<p class="border p-4">${text} ${texts[7]}</p>`)}</div>`,
  ],
  sidebar: ({ texts, palette: [ground, box, ink], columns }) => [
    '',
    `<div class="flex"><aside class="w-64 h-screen bg-${box}-800 text-white p-6">${boxes(texts, (text) => `<p class="py-2">${text}</p>`)}</aside>
    <main class="flex-1 bg-${ground}-50 p-10"><h1 class="text-3xl text-${ink}-600">${texts[5]}</h1><div class="grid grid-cols-${columns} gap-4">${boxes(
      texts,
      (text) => `<div class="bg-white shadow p-4"><img class="w-full h-24" src="a.png"><p>${text}</p></div>`,
    )}</div></main></div>`,
  ],
  form: ({ texts, palette: [ground, box, ink], columns }) => [
    `bg-${ground}-300`,
    `<div class="max-w-3xl mx-auto mt-20 bg-white p-10 rounded-xl"><h1 class="text-2xl text-${ink}-700 mb-4">${texts[0]}</h1>
    <div class="grid grid-cols-${columns} gap-4">${boxes(
      texts,
      (text) => `<label>${text}<input class="border-2 border-${box}-500 block w-full h-10"></label>`,
    )}</div><button class="w-full bg-${box}-600 text-white py-3 mt-6">${texts[3]}</button><p>${texts[7]}</p></div>`,
  ],
  table: ({ texts, palette: [ground, box, ink], columns }) => [
    `bg-${ground}-50`,
    `<h1 class="bg-${box}-600 text-white text-3xl p-6">${texts[0]}</h1><div class="grid grid-cols-${columns} gap-1 p-6 bg-${ground}-200">${boxes(
      [...texts.slice(0, 7)],
      (text) => `<p class="bg-white p-3 text-${ink}-700">${text}</p><p class="bg-white p-3">${text}</p>`,
    )}</div><footer class="bg-${ink}-900 text-white p-8">${texts[5]}</footer>`,
  ],
  article: ({ texts, palette: [ground, box, ink], columns }) => [
    '',
    `<div class="grid grid-cols-${columns}"><div class="p-12 bg-${ground}-100"><h1 class="text-5xl text-${ink}-900">${texts[0]}</h1>
    <p class="mt-4">${texts[7]} ${texts[7]}</p></div><div class="bg-${box}-300 p-12"><img class="w-full" src="x.png"></div>
    <div class="p-8 border-t-4 border-${box}-500">${boxes(texts, (text) => `<p class="py-3">${text}</p>`)}</div></div>`,
  ],
};

export const pages = Object.keys(bodies);
/** From the smallest change to the largest one. */
export const changes = ['none', 'text', 'colours', 'columns', 'bare'] as const;

const garden = [
  ...['Garden tools', 'Spades', 'Rakes', 'Autumn offer', 'Order now', 'Contact us', 'Wheelbarrows'],
  'All tools are made of oak and steel in a small workshop by the sea.',
];
const piano = [
  ...['Piano school', 'Lessons', 'Prices', 'First concert', 'Read more', 'Our house', 'Beginner class'],
  'We teach children and adults in groups of four on Monday evenings.',
];

export function variant(name: string, change: (typeof changes)[number]): string {
  const look: Look = {
    texts: change === 'text' ? piano : garden,
    palette: change === 'colours' ? ['yellow', 'green', 'red'] : ['gray', 'blue', 'gray'],
    columns: change === 'columns' ? (name === 'form' ? 1 : 2) : 3,
    styled: change !== 'bare',
  };
  const [classes, content] = bodies[name]!(look);
  const body = look.styled ? content : content.replace(/ class="[^"]*"/g, '');
  return `<html><head>${look.styled ? link : ''}</head><body class="${look.styled ? classes : ''}">${body}</body></html>`;
}
