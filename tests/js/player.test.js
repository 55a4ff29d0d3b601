import { Player } from "/app/ui/live/web/player.js";
import { equal, test } from "./harness.js";

const state = (player) => [player.token, player.following, player.playing];
const playing = (token, pace, now = 0) => {
  const player = new Player();
  player.token = token;
  player.pace = pace;
  player.play(now);
  return player;
};

test("at first it follows a stream that has not begun", () => equal(state(new Player()), [-1, true, false]));

test("following stands on the newest token, and rests there when it is over", () => {
  const player = new Player();
  player.grown(0, false);
  player.grown(7, false);
  equal(state(player), [7, true, false]);
  player.grown(9, true);
  equal(state(player), [9, false, false]);
});

test("tokens that come while one is looked at do not move it", () => {
  const player = new Player();
  player.grown(5, false);
  player.go(2, 5);
  player.grown(30, false);
  player.grown(31, true);
  equal(state(player), [2, false, false]);
});

test("it stays within the tokens there are", () => {
  const player = new Player();
  player.go(99, 5);
  equal(player.token, 5);
  player.go(-3, 5);
  equal(player.token, 0);
});

test("ten tokens a second are ten tokens a second, however often it is asked", () => {
  for (const every of [7, 16, 33, 100, 250]) {
    const player = playing(0, 10, 1000);
    for (let now = 1000; now <= 3000; now += every) player.tick(now, 100, true);
    player.tick(3000, 100, true);
    equal(player.token, 20, `asked every ${every} ms`);
  }
});

test("nothing is shown anew before its time", () => {
  const player = playing(3, 10, 0);
  equal([player.tick(99, 50, true), player.token], [false, 3]);
  equal([player.tick(100, 50, true), player.token], [true, 4]);
  equal([player.tick(100, 50, true), player.token], [false, 4]);
});

test("a replay ends on the last token", () => {
  const player = playing(0, 30);
  equal(player.tick(60000, 12, true), true);
  equal(state(player), [12, false, false]);
  equal(player.tick(70000, 12, true), false);
});

test("a replay that catches up with the stream follows it", () => {
  const player = playing(0, 30);
  player.tick(60000, 12, false);
  equal(state(player), [12, true, false]);
});

test("another pace begins now: time that has passed is not made up for", () => {
  const player = playing(0, 3, 0);
  player.tick(300, 100, true);
  player.setPace(30, 300);
  player.tick(330, 100, true);
  equal(player.token, 0);
  player.tick(334, 100, true);
  equal(player.token, 1);
});

test("step by step is a pace at which nothing plays, and the button takes one step", () => {
  const player = playing(4, 10);
  player.setPace(0, 0);
  equal([player.playing, player.tick(99999, 50, true), player.token], [false, false, 4]);
  player.toggle(50, true, 0);
  equal(state(player), [5, false, false]);
  player.go(50, 50);
  player.toggle(50, true, 0);
  equal(player.token, 50);
});

test("the button pauses what moves", () => {
  const following = new Player();
  following.grown(5, false);
  following.toggle(5, false, 0);
  equal(state(following), [5, false, false]);
  const replay = playing(2, 10);
  replay.toggle(5, true, 0);
  equal(state(replay), [2, false, false]);
});

test("the button plays on, from the start at the end, and follows at the end of what still comes", () => {
  const player = new Player();
  player.go(3, 9);
  player.toggle(9, true, 0);
  equal(state(player), [3, false, true]);
  player.go(9, 9);
  player.toggle(9, true, 0);
  equal(state(player), [0, false, true]);
  player.go(9, 9);
  player.toggle(9, false, 0);
  equal(state(player), [9, true, false]);
});

test("back to live is the end: followed while it grows, rested on when it is over", () => {
  const player = playing(2, 10);
  player.live(8, false);
  equal(state(player), [8, true, false]);
  player.live(8, true);
  equal(state(player), [8, false, false]);
});
