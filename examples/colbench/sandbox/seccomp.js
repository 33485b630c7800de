/**
 * The system calls that an answer may not make, as a program for the kernel's filter. What isolates an answer are its
 * namespaces; this takes away what a function has no use for and what would get round the limits: new processes (threads share
 * the memory limit, processes would each have their own), memory that no limit counts, sockets, and rarely used doors
 * into the kernel.
 */

// Numbers of the system calls on x64 and arm64; undefined where there is no such call.
/** @type {Record<string, [x64: number | undefined, arm64: number | undefined]>} */
const denied = {
  // processes and other processes' memory
  fork: [57, undefined],
  vfork: [58, undefined],
  ptrace: [101, 117],
  process_vm_readv: [310, 270],
  process_vm_writev: [311, 271],
  kcmp: [312, 272],
  pidfd_send_signal: [424, 424],
  pidfd_open: [434, 434],
  pidfd_getfd: [438, 438],
  // memory and queues beside the address space
  shmget: [29, 194],
  shmat: [30, 196],
  shmctl: [31, 195],
  semget: [64, 190],
  msgget: [68, 186],
  mq_open: [240, 180],
  memfd_create: [319, 279],
  memfd_secret: [447, 447],
  add_key: [248, 217],
  request_key: [249, 218],
  keyctl: [250, 219],
  inotify_init: [253, undefined],
  inotify_init1: [294, 26],
  fanotify_init: [300, 262],
  // the network; a pair of connected sockets, which event loops use, is allowed
  socket: [41, 198],
  // namespaces and mounts
  unshare: [272, 97],
  setns: [308, 268],
  mount: [165, 40],
  umount2: [166, 39],
  pivot_root: [155, 41],
  chroot: [161, 51],
  open_tree: [428, 428],
  move_mount: [429, 429],
  fsopen: [430, 430],
  fsconfig: [431, 431],
  fsmount: [432, 432],
  fspick: [433, 433],
  mount_setattr: [442, 442],
  name_to_handle_at: [303, 264],
  open_by_handle_at: [304, 265],
  // the kernel and the machine
  bpf: [321, 280],
  perf_event_open: [298, 241],
  userfaultfd: [323, 282],
  io_uring_setup: [425, 425],
  io_uring_enter: [426, 426],
  io_uring_register: [427, 427],
  kexec_load: [246, 104],
  kexec_file_load: [320, 294],
  init_module: [175, 105],
  finit_module: [313, 273],
  delete_module: [176, 106],
  quotactl: [179, 60],
  quotactl_fd: [443, 443],
  acct: [163, 89],
  swapon: [167, 224],
  swapoff: [168, 225],
  reboot: [169, 142],
  settimeofday: [164, 170],
  adjtimex: [159, 171],
  clock_settime: [227, 112],
  clock_adjtime: [305, 266],
  sethostname: [170, 161],
  setdomainname: [171, 162],
  syslog: [103, 116],
  personality: [135, 92],
  iopl: [172, undefined],
  ioperm: [173, undefined],
  move_pages: [279, 239],
  migrate_pages: [256, 238],
  mbind: [237, 235],
  set_mempolicy: [238, 237],
};

/** @type {Record<string, { column: 0 | 1, audit: number, clone: number }>} */
const architectures = {
  x64: { column: 0, audit: 0xc000003e, clone: 56 },
  arm64: { column: 1, audit: 0xc00000b7, clone: 220 },
};
const clone3 = 435;
const cloneThread = 0x10000;
/** Numbers from here on are calls of x64's second interface, of 32-bit pointers. */
const x32 = 0x40000000;

const load = 0x20;
const jumpIfEqual = 0x15;
const jumpIfAtLeast = 0x35;
const jumpIfSet = 0x45;
const answer = 0x06;
const allow = 0x7fff0000;
const kill = 0x80000000;
const failWith = (/** @type {number} */ errno) => 0x00050000 | errno;
const notPermitted = failWith(1);
const noSuchCall = failWith(38);

/**
 * The filter as bytes, for `bwrap --seccomp`.
 * @param {string} arch as in process.arch
 * @returns {Buffer | undefined} undefined for a processor whose numbers are not known here
 */
export function seccompFilter(arch = process.arch) {
  const known = architectures[arch];
  if (known === undefined) return undefined;
  const { column, audit, clone } = known;
  /** @type {[code: number, ifTrue: number, ifFalse: number, value: number][]} */
  const program = [
    [load, 0, 0, 4],
    [jumpIfEqual, 1, 0, audit],
    [answer, 0, 0, kill],
    [load, 0, 0, 0],
  ];
  if (arch === 'x64') program.push([jumpIfAtLeast, 0, 1, x32], [answer, 0, 0, kill]);
  // The C library tries the newer call first, whose flags stand in memory that a filter cannot see.
  program.push([jumpIfEqual, 0, 1, clone3], [answer, 0, 0, noSuchCall]);
  program.push([jumpIfEqual, 0, 4, clone], [load, 0, 0, 16], [jumpIfSet, 1, 0, cloneThread]);
  program.push([answer, 0, 0, notPermitted], [answer, 0, 0, allow]);
  for (const numbers of Object.values(denied)) {
    const number = numbers[column];
    if (number !== undefined) program.push([jumpIfEqual, 0, 1, number], [answer, 0, 0, notPermitted]);
  }
  program.push([answer, 0, 0, allow]);

  const bytes = Buffer.alloc(8 * program.length);
  program.forEach(([code, ifTrue, ifFalse, value], i) => {
    bytes.writeUInt16LE(code, 8 * i);
    bytes.writeUInt8(ifTrue, 8 * i + 2);
    bytes.writeUInt8(ifFalse, 8 * i + 3);
    bytes.writeUInt32LE(value >>> 0, 8 * i + 4);
  });
  return bytes;
}
