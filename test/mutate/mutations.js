// The faults that `npm run mutate` puts into the sources, one at a time: what each is, changes of the code (a pattern and
// its replacement), and for each file the test that must fail. A pattern is changed in one place after another; comments and
// scalar references are not searched.
//
// A test is a file below test/, of which the part after a colon may choose some tests. check_plain, check_asan and
// check_races are the builds of test/native on the emulator of CUDA. Of several tests one must fail.

const ROWS = ['native/cpu/rows/softmax_stats.h', 'ops/token-logps'];
const GRADIENTS = ['native/cpu/rows/softmax_gradient.h', 'ops/token-logps'];
const LOGITS = ['native/cpu/logits_head.cpp', 'ops/token-logps'];
const SOFTMAX = ['native/softmax.h', 'ops/token-logps'];
const PASSES = ['native/cpu/gemm/passes.cpp', 'ops/linear-logps'];
const PRODUCT = ['native/cpu/gemm/product.h', 'ops/linear-logps'];
const TILES = ['native/cpu/gemm/tiles.cpp', 'ops/linear-logps'];
const LINEAR = ['native/cpu/linear_head.cpp', 'ops/linear-logps'];
const LINEAR_CHUNKS = ['native/cpu/linear_chunks.h', 'ops/linear-logps'];
const ROW_SEGMENTS = ['native/cpu/row_segments.h', ['ops/token-logps', 'ops/token-divergence']];
const ONE_PASS = ['native/cpu/one_pass_update.cpp', 'numerics/one-pass'];
const PREFERENCE = [
  'native/cpu/preference_loss.cpp',
  ['ops/trajectory-preference', 'ops/turn-preference', 'numerics/one-pass'],
];
const ADVANTAGES = ['native/cpu/turn_advantages.cpp', 'ops/turn-advantages'];
const TOKEN_WEIGHTS = [
  'native/cpu/token_weights.h',
  ['ops/turn-advantages', 'ops/trajectory-preference', 'numerics/one-pass', 'ops/critic-update'],
];
const NON_FINITE = ['native/cpu/non_finite.cpp', 'runtime/assert-finite'];
const ITEMS = ['native/cpu/items.cpp', ['ops/trajectory-preference', 'ops/turn-preference', 'numerics/one-pass']];
const ITEMS_HEADER = ['native/cpu/items.h', ['ops/trajectory-preference', 'ops/turn-preference']];
const STEPS = ['native/cpu/preference_steps.cpp', 'numerics/one-pass'];
const LOSS_TYPES = ['native/loss_types.h', ['ops/trajectory-preference', 'ops/turn-preference']];
const UNPAIRED_TYPES = ['native/unpaired_loss.h', 'ops/unpaired-loss'];
const UNPAIRED = ['native/cpu/unpaired_loss.cpp', ['ops/unpaired-loss', 'numerics/one-pass-unpaired']];
const CUDA_UNPAIRED = ['native/cuda/unpaired_loss.cu', 'check_plain: unpaired'];
const POLICY_GRADIENT = ['native/policy_gradient.h', 'ops/policy-gradient-update'];
const OF_POLICY = ['native/policy_gradient_update.h', 'ops/policy-gradient-update'];
const CPU_POLICY = ['native/cpu/policy_gradient.cpp', 'ops/policy-gradient-update'];
const CUDA_POLICY = ['native/cuda/policy_gradient.cu', 'check_plain: policy-gradient'];
const LAYOUT = ['native/layout.h', 'args/errors'];
const SHARDS = ['native/vocab_parallel.h', 'ops/vocab-parallel'];
const CPU_SHARDS = ['native/cpu/vocab_parallel.cpp', 'ops/vocab-parallel'];

const DIVERGENCE = ['native/divergence.h', 'ops/token-divergence'];
const DIVERGENCE_ROWS = ['native/cpu/rows/divergence.h', 'ops/token-divergence'];
const LOGITS_DIVERGENCE = ['native/cpu/logits_divergence.cpp', 'ops/token-divergence'];
const LINEAR_DIVERGENCE = ['native/cpu/linear_divergence.cpp', 'ops/linear-divergence'];
const TOP_K = ['native/cpu/top_k.cpp', 'ops/token-divergence'];
const CUDA_PAIRS = ['native/cuda/pair_divergence.cu', 'check_plain: divergences'];
const CUDA_TOP_K = ['native/cuda/top_k.cu', 'check_plain: divergences'];

const CUDA_LOGITS = ['native/cuda/logits_head.cu', 'check_plain: logits'];
const CUDA_STATS = ['native/cuda/segment_stats.h', 'check_plain: logits'];
const CUDA_LINEAR = ['native/cuda/linear_head.cu', 'check_plain: linear'];
const CUDA_GRADIENTS = ['native/cuda/linear_gradients.cu', 'check_plain: linear'];
const CUDA_PRODUCT = ['native/cuda/product.cu', 'check_plain: references'];
const CUDA_ROWS = ['native/cuda/row_compaction.cu', ['check_plain: linear', 'check_plain: updates']];
const CUDA_SHARDS = ['native/cuda/vocab_parallel.cu', 'check_plain: logits'];
const CUDA_PREFERENCE = ['native/cuda/preference_loss.cu', 'check_plain: losses'];
const CUDA_ITEMS = ['native/cuda/items.cu', 'check_plain: losses'];
const CUDA_ADVANTAGES = ['native/cuda/turn_advantages.cu', 'check_plain: turns'];
const CUDA_LAYOUT = ['native/cuda/layout.cu', 'check_plain: losses'];

const by = (test, ...places) => places.map(([file]) => [file, test]);
const inBuild =
  (build) =>
  (...places) =>
    places.map(([file, tests]) => [file, [tests].flat().map((test) => test.replace('plain', build))]);
const [asan, races] = ['asan', 'races'].map(inBuild);

const OBJECTIVES = [
  'objectives/objectives-vectors',
  'objectives/objectives-oracle',
  'objectives/objectives-properties',
];
const objective = (...files) => files.map((file) => [`lib/objectives/${file}.ts`, OBJECTIVES]);

export const MUTATIONS = [
  // -- bounds and tails
  {
    fault: 'the last elements of a row or tile are left out',
    changes: [
      [/if \(i < n\) (?=\w+\.add_tail)/, 'if (false) '],
      [/if \(tile\.entries % 2\) (?=add)/, 'if (false) '],
      [/(?<=for \(; v) (?=< n; v \+= step)/, ' + size '],
    ],
    places: [ROWS, ['native/cpu/gemm/tile_passes.h', 'ops/linear-logps'], CUDA_STATS],
  },
  {
    fault: 'the padding of the last vector counts as elements',
    changes: [[/(?<=const V x = load_n\(p, n, )-INFINITY|-INFINITY(?=, &vector)/, '0.0f']],
    places: [ROWS, CUDA_STATS],
  },
  {
    fault: 'whole vectors are read or written past the end of a row',
    changes: [
      [/i \+ (kPair|kLanes) <= n/, 'i < n'],
      [/(rest|left) >= (kLanes|per_thread)/, '$1 > 0'],
      [/(?<=i < count \? )depth - d/, 'size'],
    ],
    places: [ROWS, GRADIENTS, PRODUCT, ...asan(CUDA_PRODUCT)], // a linear head's rows are padded in memory
  },
  {
    fault: 'an element or a thread too many',
    changes: [
      [/(?<=tail )<(?= n)/, '<='],
      [/(?<=\b[it] )>=(?= (rows|turns\.count)\) return)/, '>'],
    ],
    places: asan(CUDA_LOGITS, CUDA_SHARDS, CUDA_ADVANTAGES),
  },
  {
    fault: 'vectors are loaded as if every row were aligned',
    changes: [[/offset == 0 \? 0 : size - offset/, '0']],
    places: [['native/cuda/device.h', 'check_asan: logits']],
  },
  {
    fault: 'offsets are multiplied in 32 bits',
    changes: [[/(row\(item\)|\bi) \* (head\.)?row_stride/, 'static_cast<int32_t>($&)']],
    places: by('numerics/traps: 32-bit offsets', LOGITS, ROW_SEGMENTS),
  },
  {
    fault: 'more is mapped, or viewed, than there is',
    changes: [
      [/size < bytes \|\| /, ''],
      [/\(this\.byteLength - offset\)/, 'this.byteLength'],
    ],
    places: by('io/shm', ['native/shm.cpp'], ['lib/io/shm.ts']),
  },

  // -- indices
  {
    fault: 'padded rows are taken for dense ones',
    changes: [
      [/row_stride(?= \+ (first|label|segments))/, 'vocab_size'],
      [/view\.row_stride/, 'view.columns'],
      [/(?<=rows\[blockIdx\.x\] \* )row_stride/, 'columns'],
      [/rowStride: hiddenStride/, 'rowStride: shape.hiddenSize'],
    ],
    places: [LOGITS, NON_FINITE, CUDA_LOGITS, CUDA_ROWS, ['lib/args/head.ts', 'ops/linear-logps']],
  },
  {
    fault: 'the layout of a weight, or of its gradient, is ignored',
    changes: [
      [/(?<=transposed_\()is_transposed\(head\.weight\)/, 'false'],
      [/is_transposed\(head\.weight\)(?= \?)/, 'false'],
      [/matrix\.column_stride == 1/, 'true'],
      [/weight\.transposed = !weight\.transposed;/, ''],
      [/(?<=transposed = )is_transposed\((head_\.)?weight\)/, 'false'],
      [/layout === 'HV' && /, 'false && '],
      [/(?<=weightLayout: )given\(option\('weightLayout'\), .*\)/, "option('weightLayout')"],
    ],
    places: [
      ['native/head.h', 'ops/weight-options'],
      ['lib/args/linear-shape.ts', 'ops/weight-options'],
      ...by('ops/weight-options', PASSES, TILES),
      CUDA_LINEAR,
      ['lib/args/second-head.ts', 'ops/critic-update'],
    ],
  },
  {
    fault: 'the type of the hidden states is taken for that of weight and bias, or the other way round',
    changes: [
      [/head_?\.bias_dtype/, 'head_.dtype'],
      [/head_\.weight\.dtype(?= ==)/, 'head_.dtype'],
      [/(?:matrix|weight)\.dtype(?=, (?:head_\.hidden_size|count, x))/, 'head_.dtype'],
      [/head\.weight\.dtype == head\.dtype/, 'true'],
      [/(?<=hidden_size, )head_\.dtype(?=, hidden_\))/, 'head_.hidden.dtype'],
      [/dtype === weight\.dtype \? dtype : 'float32'/, 'dtype'],
      [/biasDtype: bias\?\.dtype \?\? 'float32'/, 'biasDtype: dtype'],
      [/option\('weight'\), weightDtype, /, "option('weight'), "],
    ],
    places: [
      ...by('ops/weight-options', TILES),
      CUDA_LINEAR,
      ['lib/args/head.ts', 'ops/weight-options'],
      ['lib/args/second-head.ts', 'ops/critic-update'],
    ],
  },
  {
    fault: 'a block of widened weight is the first one, or the products of the last one are all there is',
    changes: [
      [/weight\.at\(first, 0\)/, 'weight.at(0, 0)'],
      [/logits_ \+ entry/, 'logits_'],
      [/bias_ \+ entry/, 'bias_'],
      [/ \+ entry \* bytes_of\(dtype\)/, ''],
      [/ \|\| entry > 0/, ''],
    ],
    places: [CUDA_LINEAR, CUDA_GRADIENTS],
  },
  {
    fault: 'the reference has the temperature of the trained head',
    changes: [[/checkSecondScale\(options, names, first\)/, 'first']],
    places: [['lib/args/second-head.ts', 'ops/critic-update']],
  },
  {
    fault: 'rows are taken from, or written to, where they lie in the chunk',
    changes: [[/\brows\[([\w.]+)\]/, '$1']],
    places: [PASSES, TILES, ONE_PASS, CUDA_ROWS],
  },
  {
    fault: 'every tile, or every shard, is the first one',
    changes: [
      [/ \+ weight\.first \* bytes_of.*(?=;)/, ''],
      [/\border\[s\]/, 'order[0]'],
    ],
    places: [TILES, CPU_SHARDS, CUDA_SHARDS],
  },
  {
    fault: 'the last token of a turn is left out',
    changes: [[/(?<=[^m]_?offsets_?)\[t \+ 1\]/, '$& - 1']],
    places: [ITEMS_HEADER, ADVANTAGES, CUDA_ITEMS],
  },
  {
    fault: 'rows predict their own token: the shift by one is missing',
    changes: [[/inputIds\.push\(last\)/, 'inputIds.push(token)']],
    places: [['lib/data/pack-turns.ts', 'data/pack-turns']],
  },

  // -- statistics of rows
  {
    fault: 'the argmax is not the lowest of equal logits',
    changes: [
      [/largest\[part\] > sums\.largest/, 'largest[part] >= sums.largest'],
      [/choose_greater\(x, largest, entry, argmax\)/, 'choose_greater(largest, x, argmax, entry)'],
      [/part\(s\)\.largest > all\.largest/, 'part(s).largest >= all.largest'],
      [/has_max \? index_of_max\(thread, x, n\) : n/, 'has_max ? thread.first : n'],
    ],
    places: [...by('ops/statistics', ROWS, SOFTMAX), ['native/cpu/gemm/tile_passes.h', 'ops/statistics'], CUDA_STATS],
  },
  {
    fault: 'the argmax counts from its segment or its shard',
    changes: [
      [/(?:segment|stats_?\[item\])\.argmax \+= [^;]+;/, ''],
      [/head_\.vocab_offset \+ v, stats/, 'v, stats'],
    ],
    places: [...by('ops/statistics', LOGITS, PASSES), CUDA_LOGITS],
  },
  {
    fault: 'squares of probabilities overflow, or stay relative to another max',
    changes: [
      [/sums\.sum_exp > kMaxSumOfSquares/, 'false'],
      [/stats\.sum_squares \* factor \* factor/, 'stats.sum_squares * factor'],
    ],
    places: by('ops/statistics', ROWS, SOFTMAX),
  },
  {
    fault: 'a row without a distribution has an argmax',
    changes: [[/lse == lse \? static_cast<int32_t>\(all\.argmax\) : -1/, 'static_cast<int32_t>(all.argmax)']],
    places: by('ops/statistics', SOFTMAX),
  },
  {
    fault: 'shards need not have the same statistics',
    changes: [[/shard_flags\(header\) != format\.flags\(\)/, 'false']],
    places: [SHARDS],
  },

  // -- labels
  {
    fault: 'the first entry of a segment, tile or shard is never the label',
    changes: [[/\b(label|v) >= (first|0|shard\.offset)(?= && \1( - \S+)? < (first|tile|shard\.size))/, '$1 > $2']],
    places: [LOGITS, PASSES, TILES, ...by('ops/token-logps', LAYOUT)],
  },
  {
    fault: 'the label has the gradient of any entry',
    changes: [
      [/expm1\(/, 'exp('],
      [/if \((has_label|threadIdx\.x == 0)\) (?=\{|from_float)/, 'if (false) '],
      [/v \+ j == row\.label/, 'false'],
    ],
    places: [SOFTMAX, LOGITS, CUDA_LOGITS, CUDA_GRADIENTS],
  },
  {
    fault: 'a label is looked for in another shard',
    changes: [
      [/is_local\(label\) \?/, 'true ?'],
      [/\(label - shard\.offset\)/, '(label)'],
    ],
    places: [...by('ops/vocab-parallel', LAYOUT, LOGITS, ['native/cpu/logps.cpp']), ...asan(CUDA_LOGITS)],
  },

  // -- masks
  {
    fault: 'masked rows are read',
    changes: [
      [/= kMasked;/, '= kIgnored;'],
      [/mask: checkedMask/, 'mask: undefined'],
      [/if \(view\.mask .*? return;/, ''],
    ],
    places: [...by('ops/token-logps', LAYOUT, ['lib/args/labels.ts']), NON_FINITE],
  },
  {
    fault: 'a mask of integers is cut to bytes, or that of a message is left out',
    changes: [
      [/\) === 0 \? 0 : 1;/, ');'],
      [/ && kept\?\.\[i\] !== false/, ''],
    ],
    places: [
      ['lib/args/arrays.ts', 'args/masks'],
      ['lib/data/pack-turns.ts', 'data/pack-turns'],
    ],
  },
  {
    fault: 'rows of an ignored label count',
    changes: [
      [/labels\[i\] >= 0/, 'labels[i] >= kIgnored'],
      [/(?<=, )ignoreIndex(?=, data)/, 'ignoreIndex: IGNORE_INDEX'],
    ],
    places: [TOKEN_WEIGHTS, ['lib/args/labels.ts', 'ops/token-logps']],
  },
  {
    fault: 'masked tokens are summed',
    changes: [
      [/if \((kept_\[i\]|weights_\[i\] != 0|m != 0)\) |if \(m == 0\) continue;/, ''],
      [/!kept \? 0\.0f : /, ''],
      [/if \((\w+\?\.\[\w\] === 0|weight === \w+)\) continue;/, ''],
    ],
    places: [
      TOKEN_WEIGHTS,
      ...by('ops/turn-advantages', LAYOUT),
      CUDA_ITEMS,
      CUDA_ADVANTAGES,
      ['lib/objectives/filtered-nll.ts', 'objectives/filtered-nll'],
      ['lib/objectives/binary-value.ts', 'objectives/binary-value'],
    ],
  },
  {
    fault: 'masked tokens get a gradient',
    changes: [
      [/(kept_\[i\]|weights_\[i\] != 0) \? (?=static_cast<float>\(grad)/, 'true ? '],
      [/m != 0 \? (static_cast<float>\(grad) \* m\) : 0\.0f/, '$1)'],
    ],
    places: [TOKEN_WEIGHTS, CUDA_ITEMS, CUDA_ADVANTAGES],
  },
  {
    fault: 'the weights of tokens are left out',
    changes: [
      [/\b(m|weight) \* (?=\(|logps)/, ''],
      [/ \* (tokens_\.weight\(i\)|weights_\[i\]|m)(?=\))/, ''],
      [/-\(weightOf\(i\) as number\)/, '-1'],
      [/withWeights\(labels, given\)/, 'withWeights(labels, {})'],
    ],
    places: [
      PREFERENCE,
      ITEMS,
      ADVANTAGES,
      TOKEN_WEIGHTS,
      CUDA_ITEMS,
      CUDA_ADVANTAGES,
      ['lib/objectives/filtered-nll.ts', 'objectives/filtered-nll'],
      ['lib/ops/head-update.ts', 'ops/critic-update'],
    ],
  },
  {
    fault: 'the gradient of masked rows is not cleared',
    changes: [[/memset\(.*|if \((!\w+\.accumulate && )?\w+\.hidden\) clear\(.*/, '']],
    places: [LOGITS, ROW_SEGMENTS, LINEAR_CHUNKS, ONE_PASS],
  },
  {
    fault: '+inf is allowed in place of -inf',
    changes: [[/0xf(f800000|f80|c00)u/, '0x7$1u']],
    places: [NON_FINITE],
  },

  // -- softmax
  {
    fault: 'the sums are not rescaled to a new max',
    changes: [[/(?<=sum_exp \*=? )factor/, '1']],
    places: [SOFTMAX, ...by('ops/linear-logps', ROWS), CUDA_STATS],
  },
  {
    fault: 'the entropy is not moved to a new max',
    changes: [[/(?<=sum_t_exp) \+ \S*sum_exp \* [td]\)/, ')']],
    places: [SOFTMAX, ...by('ops/linear-logps', ROWS), CUDA_STATS],
  },
  {
    fault: 'the exponents of a segment of -inf are NaN',
    changes: [[/(\w+) == -INFINITY \? 0\.0f : \1/, '$1']],
    places: [...by('numerics/long-rows', ROWS), CUDA_STATS],
  },
  {
    fault: 'exponents out of range are not noticed',
    changes: [
      [/if \(!kClamped && out_of_range\)/, 'if (false)'],
      [/if \(!range\.out_of_range\(\)\)/, ''],
    ],
    places: [ROWS, GRADIENTS],
  },
  {
    fault: 'lse is added instead of subtracted',
    changes: [[/- (?=(lse|log_sum)\b)/, '+ ']],
    places: [SOFTMAX],
  },
  {
    fault: 'powers of e are taken for powers of two',
    changes: [[/1\.4426950408889634/, '1.0']],
    places: [SOFTMAX],
  },
  {
    fault: 'the temperature is missing',
    changes: [
      [/ \/ temperature(?= - l)/, ''],
      [/(?<=value\(grad_\w+, i\)\)?) \/ temperature/, ''],
      [/(?<=value\(grad_\w+, i, )temperature/, '1'],
    ],
    places: [
      SOFTMAX,
      ['native/cpu/logps.h', 'ops/upstream-gradients'],
      ['native/cuda/logps.h', 'check_plain: logits', 'check_plain: linear'],
    ],
  },
  {
    fault: 'the gradient at every entry but the label has the wrong sign',
    changes: [[/(?<=b = )-(?=row\.grad_logp)/, '']],
    places: [SOFTMAX],
  },
  {
    fault: 'a term of the gradients of the entropy and of lse is missing',
    changes: [
      [/b \+= row\.grad_lse/, ''],
      [/row\.entropy \+ (?=[dl]\b)/, ''],
      [/row\.grad_lse - (?=row\.grad_entropy)/, ''],
      [/upstream_\[token\]\.grad_lse/, '0'],
    ],
    places: by('ops/upstream-gradients', SOFTMAX, ['native/cpu/gemm/tiles.h']),
  },
  {
    fault: 'the gradient of the entropy at a masked entry is 0 times infinity',
    changes: [[/max\(set1\(-512\.0f\), (mul\(.*?\(scale_log2\)\)|mul\(.*?\.scale_log2\)\))\)/, '$1']],
    places: by('ops/upstream-gradients', GRADIENTS, ['native/cpu/gemm/tile_passes.h']),
  },
  {
    fault: 'the label of a confident token has the rounding of lse',
    changes: [[/0x1p-12/, '0x1p-60']],
    places: by('ops/confident', SOFTMAX),
  },
  {
    fault: 'the rounding of the max to float32 changes the gradient',
    changes: [[/(?<=\bb) \* rounding/, '']],
    places: by('ops/critic-update', SOFTMAX),
  },
  {
    fault: 'a softcap lacks its slope, or masked entries count in it',
    changes: [
      [/1\.0 - static_cast<double>\(t\) \* t/, '1.0'],
      [/mul\(d, fma\(.*\)\)/, 'd'],
      [/min\(fma\(x, set1\(0x1p-126f\), set1\(5\.0f\)\), t\)/, 't'],
      [/ \/ Softcap\(head\.softcap\)\.value\(\)/, ''],
      [/stats\.max \*= cap;/, ''],
      [/Softcap::times_slope\((at<kSlope>\(.*?\)), t\)/, '$1'],
      [/merged\.softmax\.max \*= cap\.value\(\);/, ''],
    ],
    places: [
      ...by(
        'ops/softcap',
        ['native/softcap.h'],
        ['native/cpu/rows/softcap.h'],
        ['native/head.h'],
        ['native/cpu/logps.cpp'],
      ),
      ...by('check_plain: logits', ['native/cuda/row_gradient.h'], CUDA_LOGITS),
    ],
  },
  {
    fault: 'the argmax is that of capped logits, or the last of equal ones',
    changes: [
      [/stats->argmax = uncapped\.argmax;/, ''],
      [/uncapped\.argmax(?=;)/, '0'],
    ],
    places: by('ops/statistics', ['native/cpu/capped.h']),
  },
  {
    fault: 'bfloat16 is truncated instead of rounded',
    changes: [[/(?<=\+ |set1_epi32\()0x8000/, '0']],
    places: by('ops/token-logps', ['native/cpu/isa/simd_portable.h'], ['native/cpu/isa/simd_avx2.h']),
  },
  {
    fault: 'a 16-bit number is widened to another one',
    changes: [
      [/packed & 0xffff0000|_mm256_and_si256\(packed, .*?\)\)/, 'packed'],
      [/0x1p112f/, '0x1p113f'],
      [/exponent \+ 112u/, 'exponent + 113u'],
      [/exponent - 25/, 'exponent - 24'],
    ],
    places: [
      ...by('ops/token-logps', ['native/cpu/isa/simd_portable.h'], ['native/cpu/isa/simd_avx2.h'], ['native/dtype.h']),
      ['lib/io/safetensors.ts', 'io/safetensors'],
    ],
  },

  // -- divergences
  {
    fault: 'the two distributions of a divergence are exchanged',
    changes: [
      [/swapped \? y : x, swapped \? x : y/, 'x, y'],
      [/swapped \? pair_of\(y, x\) : pair_of\(x, y\)/, 'pair_of(x, y)'],
      [/kSwapped \? of_y : of_x, kSwapped \? of_x : of_y/, 'of_x, of_y'],
    ],
    places: [LOGITS_DIVERGENCE, LINEAR_DIVERGENCE, CUDA_PAIRS],
  },
  {
    fault: 'a KL is finite where an entry is masked in one distribution alone',
    changes: [[/if \(stats\.unsupported\)/, 'if (false)']],
    places: [DIVERGENCE],
  },
  {
    fault: 'a negative divergence is returned',
    changes: [[/divergence < 0 \? 0 : divergence/, 'divergence']],
    places: [DIVERGENCE],
  },
  {
    fault: 'the gradient of a divergence lacks kappa',
    changes: [[/ - kappa(?=[;)])/, '']],
    places: [DIVERGENCE, CUDA_PAIRS],
  },
  {
    fault: 'the gradient of a divergence lacks the temperature',
    changes: [[/\* grad_divergence \/ temperature/, '* grad_divergence']],
    places: [DIVERGENCE],
  },
  {
    fault: 'the weights of the mixture are exchanged',
    changes: [
      [
        /log2_p, beta, other_beta\)|p_larger \? other_beta : beta/,
        (text) => text.replace(/(\w*beta)(.*?)(\w*beta)/, '$3$2$1'),
      ],
    ],
    places: [DIVERGENCE_ROWS, CUDA_PAIRS],
  },
  {
    fault: 'a top-k teacher has no bucket',
    changes: [[/!renormalizes?(\(\))? && (teacher\.k|k_) < \w+\.vocab_size/, 'false']],
    places: [['native/cpu/top_k.h', 'ops/token-divergence'], CUDA_TOP_K],
  },
  {
    fault: 'entries of the support are in the bucket too',
    changes: [
      [/block\[\*index - at\] = -INFINITY/, ''],
      [/x = -INFINITY;/, ''],
      [/& 1\) continue/, '& 0) continue'],
    ],
    places: [
      ['native/cpu/logits_top_k.cpp', 'ops/token-divergence'],
      ['native/cpu/linear_top_k.cpp', 'ops/linear-divergence'],
      CUDA_TOP_K,
    ],
  },
  {
    fault: 'a top-k teacher is not checked',
    changes: [[/if \((index < 0 \|\| index >= head_\.vocab_size|twice < k_|sum > kMaxTopKSum)\)/, 'if (false)']],
    places: [TOP_K],
  },

  // -- accumulation
  {
    fault: 'what is to be added to is overwritten',
    changes: [[/\b(p\.)?add(_to)? \? /, 'false ? ']],
    places: [PRODUCT, TILES, ONE_PASS, ...by('check_plain: linear', CUDA_PRODUCT), CUDA_ROWS, CUDA_GRADIENTS],
  },
  {
    fault: 'the gradient at the hidden states is not scaled where the weight is frozen',
    changes: [[/(grad|scale) \* (?=unscaled\[at\]|x\[j\])/, '']],
    places: [ONE_PASS, ['native/cuda/row_compaction.cu', 'check_plain: updates']],
  },
  {
    fault: 'what is frozen has a gradient',
    changes: [[/why !== undefined/, 'false']],
    places: [['lib/ops/head-gradients.ts', 'ops/linear-logps']],
  },
  {
    fault: 'each tile or chunk overwrites the one before',
    changes: [
      [/\badd = true;/, ''],
      [/\b(v > begin|first > 0|k > 0)\b/, 'false'],
    ],
    places: [PASSES, PRODUCT, LINEAR, ONE_PASS, CUDA_GRADIENTS],
  },
  {
    fault: 'threads do not wait for each other',
    changes: [[/__syncthreads\(\);/, '']],
    places: [
      ['native/cuda/device.h', 'check_races: logits'],
      ...races(CUDA_LOGITS, CUDA_GRADIENTS, CUDA_PREFERENCE, CUDA_PRODUCT, CUDA_ROWS),
    ],
  },

  // -- preference losses
  {
    fault: 'the reference is added instead of subtracted',
    changes: [
      [/(?<=logps\[i\]\)) -/, ' +'],
      [/\(logp - ref\)/, '(logp + ref)'],
    ],
    places: [ITEMS, ADVANTAGES, CUDA_ITEMS, CUDA_ADVANTAGES],
  },
  {
    fault: 'chosen and rejected are swapped',
    changes: [
      [/([\w.[\]]+) - ([\w.[\]]*rejected[\w.[\]]*)(?=\)*;|\)\.)/, '$2 - $1'],
      [/difference > 0 \?/, 'difference < 0 ?'],
    ],
    places: [PREFERENCE, CUDA_PREFERENCE, ['lib/data/trajectory-pairs.ts', 'data/trajectory-pairs']],
  },
  {
    fault: 'rejected items have the gradient of chosen ones',
    changes: [
      [/weight \* term\.rejected/, 'weight * term.chosen'],
      [/-(?=score_slope\(rejected\))/, ''],
    ],
    places: [PREFERENCE, STEPS, CUDA_PREFERENCE],
  },
  {
    fault: 'a term of the loss has the wrong sign or scale',
    changes: [
      [/\(2 \* p\.beta\)/, 'p.beta'],
      [/-(?=p\.beta \*| eps \* sigmoid)/, '+'],
      [/-(?= y \* sigmoid\(-v\))/, '+'],
      [/(?<=sum )-=(?= weight)/, '+='],
    ],
    places: [
      LOSS_TYPES,
      ['lib/objectives/binary-value.ts', 'objectives/binary-value'],
      ['lib/objectives/filtered-nll.ts', 'objectives/filtered-nll'],
    ],
  },
  {
    fault: 'equal keys of pairs are not sorted in the order of the pairs',
    changes: [[/!\(b < a\) && p < q/, '!(b < a) && p > q']],
    places: [LOSS_TYPES],
  },
  {
    fault: 'a token too many counts as one within the shorter item',
    changes: [[/seen(\+\+)? < prefix\.tokens/, 'seen$1 <= prefix.tokens']],
    places: [ITEMS, ITEMS_HEADER],
  },
  {
    fault: 'the normalization is missing',
    changes: [[/ \* coefficient\((in, )?t, k\)/, '']],
    places: [ITEMS, ITEMS_HEADER, CUDA_ITEMS],
  },
  {
    fault: 'another reduction is the default',
    changes: [
      [/(?<='reduction', value, )'sum'/, "'mean'"],
      [/(?<='normalization', value, )'turn-mean'/, "'sum'"],
    ],
    places: [['lib/args/preference.ts', ['ops/turn-preference', 'ops/trajectory-preference']]],
  },
  {
    fault: 'a mean has the wrong denominator',
    changes: [
      [/\/ item_weight/, '/ turn_weight'],
      [/\/ (turns\.)?weights\[t\]/, '/ (turns.offsets[t + 1] - turns.offsets[t])'],
      [/ \/ denominator_?(?=;)/, ''],
    ],
    places: [
      ['native/item_batch.h', 'ops/trajectory-preference'],
      PREFERENCE,
      ADVANTAGES,
      CUDA_PREFERENCE,
      CUDA_ADVANTAGES,
    ],
  },
  {
    fault: 'a pair of weight 0 counts where its loss is infinite',
    changes: [[/weight (==|!=) 0/, 'weight $1 -1']],
    places: [PREFERENCE, CUDA_PREFERENCE],
  },
  {
    fault: 'an item of several pairs is taken for an item of one',
    changes: [
      [/(times_chosen\S*) \+= /, '$1 = '],
      [/shared_ \|\| /, ''],
    ],
    places: [PREFERENCE, STEPS, CUDA_PREFERENCE],
  },
  {
    fault: 'equal scores count as won, or as sorted the other way',
    changes: [
      [/wins \+= (\S+) >/, 'wins += $1 >='],
      [/\by - x\b/, 'x - y'],
    ],
    places: [PREFERENCE, CUDA_PREFERENCE, ['lib/data/candidates.ts', 'data/rank-candidates']],
  },
  {
    fault: 'the reference is the model itself',
    changes: [
      [/call\.reference\.head, labels/, 'call.head, labels'],
      [/(?<=head_forward\(context, )reference/, 'head'],
    ],
    places: [
      ['native/cpu/head_update.cpp', 'ops/critic-update'],
      ['native/cuda/head_update.cpp', 'check_plain: updates'],
    ],
  },
  {
    fault: 'an item counts as one of the other kind, or its loss has the wrong sign',
    changes: [
      [/desirable \? 1 : -1/, 'desirable ? -1 : 1'],
      [/(?<=of_kind = )desirable/, '!desirable'],
      [/, -(?=y \* beta)/, ', '],
      [/desirable(_\[k\])? (?=\? (distance|x - z) >)/, '!desirable$1 '],
    ],
    places: [UNPAIRED_TYPES, UNPAIRED, CUDA_UNPAIRED],
  },
  {
    fault: 'a reference point is below 0, or leaves the items of the call out',
    changes: [
      [/mean < 0 \? 0\.0 : mean/, 'mean'],
      [/ \+ static_cast<double>\(items\)/, ''],
      [/ \* point\.count/, ''],
      [/sum -= /, 'sum += '],
    ],
    places: [UNPAIRED_TYPES, UNPAIRED, CUDA_UNPAIRED],
  },
  {
    fault: 'an item of weight 0 counts where its loss is infinite, or one at the reference point as won',
    changes: [
      [/shares_\[k\] (==|!=) 0/, 'shares_[k] $1 -1'],
      [/distance > 0/, 'distance >= 0'],
    ],
    places: [UNPAIRED],
  },
  {
    fault: 'the rewards of a kind are in another order',
    changes: [
      [/\{kinds\[1\], 0\}/, '{0, kinds[0]}'],
      [/all_desirable \+ k - rank/, 'all_desirable + rank'],
      [/w < warp/, 'w <= warp'],
    ],
    places: [UNPAIRED, CUDA_UNPAIRED],
  },
  {
    fault: 'an unpaired update takes a running mean for known',
    changes: [[/by_steps_ = !point\.is_running/, 'by_steps_ = true']],
    places: [['native/cpu/unpaired_loss.cpp', 'numerics/one-pass-unpaired']],
  },
  {
    fault: 'an update in one pass takes coefficients that float32 cannot hold',
    changes: [
      [/least_coefficient\(\) < kLeastCoefficient/, 'false'],
      [/items_\.least_coefficient\(k\) >= kLeastCoefficient/, 'true'],
    ],
    places: [
      ['native/cpu/preference_loss.cpp', 'numerics/one-pass'],
      ['native/cpu/unpaired_loss.cpp', 'numerics/one-pass-unpaired'],
    ],
  },
  {
    fault: 'a policy loss of a token has another bound, slope or sign',
    changes: [
      [/(?<=low = )1 - o\.clip_low/, '1 + o.clip_low'],
      [/r > high \? high/, 'r > high ? low'],
      [/a < 0 && most < loss/, 'most < loss'],
      [/bounded > free \? 0 : free/, 'free'],
      [/-clipped \* token\.advantage/, '-token.ratio * token.advantage'],
      [/a > 0 \? o\.tau_positive/, 'a < 0 ? o.tau_positive'],
      [/(?<=-4 )\/ tau \* a/, '* a'],
      [/a > 0 \? moved/, 'a < 0 ? moved'],
      [/-token\.advantage, false/, 'token.advantage, false'],
    ],
    places: [POLICY_GRADIENT],
  },
  {
    fault: 'a KL term has another estimate, slope or bound',
    changes: [
      [/slope = e(?=;)/, 'slope = 1'],
      [/e - slope;/, 'e + slope;'],
      [/kl > o\.kl_max/, 'false'],
      [/kl < -o\.kl_max/, 'false'],
      [/options\.kl_coef \* c \* kl\.slope/, 'c * kl.slope'],
      [/logp - \*ref_logp/, '*ref_logp - logp'],
      [/expm1\(clamped\) - clamped/, 'expm1(clamped) + clamped'],
    ],
    places: [POLICY_GRADIENT, OF_POLICY],
  },
  {
    fault: 'what has one ratio is another unit, or has another mean',
    changes: [
      [/level == RatioLevel::turn \? turns/, 'level == RatioLevel::turn ? tokens'],
      [/first_of_turn\(trajectory_offsets\[u\]\)/, 'trajectory_offsets[u]'],
      [/logp - old_logps\.at\(i\)/, 'old_logps.at(i) - logp'],
      [/sum \/ static_cast<double>\(count\)/, 'sum'],
      [/slopes \/ static_cast<double>\(count\)/, 'slopes'],
      [/slopes \/ count/, 'slopes'],
      [/ \* (batch_|in\.batch)\.importance_weight\(i\)/, ''],
    ],
    places: [OF_POLICY, CPU_POLICY, CUDA_POLICY],
  },
  {
    fault: 'a policy loss is divided by another count, or its entropy has another sign',
    changes: [
      [/of_kl - of_entropy/, 'of_kl + of_entropy'],
      [/static_cast<double>\(counted_in\(tokens\)\) \* denominator/, 'denominator'],
      [/by_sequence \? not_empty : count_/, 'count_'],
      [/lengths \? sequences : tokens/, 'tokens'],
      [/lengths\[k\] > 0/, 'lengths[k] >= 0'],
      [/lengths\[k\] \* in\.totals/, 'in.totals'],
      [/labels\[i\] >= 0/, 'labels[i] >= -1'],
      [/-(?=options_?\.entropy_coef \*)/, ''],
    ],
    places: [OF_POLICY, CPU_POLICY, CUDA_POLICY],
  },
  {
    fault: 'an update in one pass leaves the gradient of the entropy out, or finishes a row before its loss',
    changes: [
      [/loss\.grad_entropy\(\) \|\| /, ''],
      [/ \|\| upstream\.grad_entropy/, ''],
      [/, grad_entropy, grad_entropy \? call\.(forward\.)?entropy : nullptr/, ', nullptr, nullptr'],
      [/ +for \(int64_t r = 0; r < n; r\+\+\) loss\.compute_token.*;\n/, ''],
      [/compute\(chunk\.rows, count\);/, ''],
    ],
    places: [
      ...by('ops/policy-gradient-update', ONE_PASS, ['native/cpu/one_pass_update.h']),
      ['native/cuda/head_update.cpp', 'check_plain: policy-gradient'],
      ['native/cuda/linear_gradients.cu', 'check_plain: policy-gradient'],
    ],
  },
  {
    fault: 'rows of tensors in different orders pass',
    changes: [[/String\(order\) === String\(first\.order\)/, 'true']],
    places: [['lib/args/tensors.ts', 'args/shapes']],
  },
  {
    fault: 'the reference has the padding and the dtype of the logits',
    changes: [
      [/length === rows \* vocabSize \? vocabSize : /, ''],
      [/given\(option\('dtype'\), .*(?=;)/, 'dtype'],
    ],
    places: [
      ['lib/args/head.ts', 'ops/critic-update'],
      ['lib/args/second-head.ts', 'numerics/traps: a reference'],
    ],
  },
  {
    fault: 'a finite difference is wrong',
    changes: [
      [/\(plus - minus\)/, '(minus - plus)'],
      [/4 \*\* k - 1/, '2 ** k - 1'],
    ],
    places: by('debug/check-grad', ['lib/debug/check-grad.ts'], ['lib/debug/derivative.ts']),
  },

  // -- checks
  {
    fault: 'an index equal to the size is accepted',
    changes: [
      [/(chosen|rejected) >= items/, '$1 > items'],
      [/label < shard\.total/, 'label <= shard.total'],
    ],
    places: [LAYOUT],
  },
  {
    fault: 'offsets may fall, start above 0 or end early',
    changes: [
      [/offset >= last &&|\(i > 0 \|\| offset == 0\) &&|&& \(i < groups \|\| offset == total\)/, ''],
      [/begin !== at/, 'begin < at'],
    ],
    places: [LAYOUT, ['lib/io/safetensors-header.ts', 'io/safetensors']],
  },
  {
    fault: 'a weight may be NaN, or all may be 0',
    changes: [
      [/weight >= 0 && weight <= FLT_MAX/, '!(weight < 0 || weight > FLT_MAX)'],
      [/(?<=\b(sum|positive)) == 0/, ' < 0'],
    ],
    places: [LAYOUT, ...by('args/errors', ['native/layout.cpp']), CUDA_LAYOUT],
  },
  {
    fault: 'a turn may be empty where its mean is taken',
    changes: [[/(total|\w*weights_?\[\w\]) == 0 &&/, 'false &&']],
    places: [...by('args/errors', ITEMS, ADVANTAGES), CUDA_LAYOUT],
  },
  {
    fault: 'shards may overlap, leave entries out, differ in temperature or labels or end past the vocabulary',
    changes: [
      [/!= (?=next\b|headers\[0\])/, '> '],
      [/&& header\.temperature == headers\[0\]\.temperature/, ''],
      [/of_shard == 0 \|\| of_shard == checksum/, 'true'],
      [/offset > total - vocabSize/, 'offset > total'],
    ],
    places: [SHARDS, ...by('ops/vocab-parallel', ['lib/args/vocab-shard.ts'])],
  },
  {
    fault: 'what a check refuses is computed and written',
    changes: [
      [/(?<=check_\w+\(.*\);\n +)if \(!status\.ok\(\)\) return status;/, ''],
      [/has_fault\(result\) \|\| /, ''],
    ],
    places: [
      ...by('args/errors', ['native/cpu/logps.cpp'], ADVANTAGES, ['native/cpu/head_update.cpp']),
      CPU_SHARDS,
      CUDA_SHARDS,
      CUDA_ADVANTAGES,
    ],
  },
  {
    fault: 'results may overlap each other, or a part of an input',
    changes: [
      [/j < i; j\+\+/, 'j < inputs.length; j++'],
      [/allowed && at\(i, FROM\).*(?=\) continue)/, 'allowed'],
    ],
    places: [['lib/runtime/results.ts', 'args/arguments: keeps its results apart']],
  },

  {
    fault: 'two mappings of a shared memory count as two memories',
    changes: [[/inode != 0 &&/, 'false &&']],
    places: [['native/shm.h', 'runtime/overlap']],
  },

  // -- threads
  {
    fault: 'a quota of CPUs is ignored, or that of an ancestor',
    changes: [
      [/, std::ceil\(quota\)/, ', 1e9'],
      [/path\.size\(\) > 1; path\.erase.*?\)\)\)/, 'path.size() > 1; path.clear())'],
    ],
    places: [['native/cpus.cpp', 'runtime/machine: the quota']],
  },

  // -- async calls
  {
    fault: 'what a callback throws is lost',
    changes: [[/napi_fatal_exception\(.*/, '']],
    places: [['binding/async.cc', 'runtime/signals: a callback']],
  },
  {
    fault: 'each call adds a listener to its signal',
    changes: [[/followersOf\.set\(signal, followers\);/, '']],
    places: [['lib/runtime/call.ts', 'runtime/signals: has one listener']],
  },
  {
    fault: 'small results of an async call are not copied back',
    changes: [[/job->copy_back\(\);/, '']],
    places: [['binding/async.cc', 'runtime/async: many calls at once']],
  },
  {
    fault: 'small results of a cancelled call are written',
    changes: [[/if \(!status\.ok\(\)\) return;/, '']],
    places: [['binding/async.cc', 'runtime/signals: a cancelled call leaves']],
  },
  {
    fault: 'an array that may be detached is not copied, or not copied back',
    changes: [
      [/this\.copies\.set\(view, copyOf\(view\)\)/, 'this.copies.clear()'],
      [/byteView\(view\)\.set\(byteView\(copy\)\)/, ''],
    ],
    places: [['lib/runtime/retained-inputs.ts', 'runtime/async']],
  },
  {
    fault: 'an array that became shorter is read to its old end',
    changes: [[/length >= min_length/, 'true']],
    places: [['binding/args.cc', 'runtime/changing-arrays']],
  },
  {
    fault: 'an aborted call goes on',
    changes: [
      [/const Cancellable cancellable\(.*/, ''], // on other threads: test/native/check_cancelled.cpp
      [/signal\?\.throwIfAborted\(\);(?=\s+check)/, ''],
    ],
    places: by('runtime/async: an abort', ['binding/async.cc'], ['lib/runtime/call.ts']),
  },

  // -- sweet-rl/objectives
  {
    fault: 'a masked element takes time, is summed or gets a gradient',
    changes: [[/if \(!layout\.counts\(i\)\) continue;|if \(layout\.counts\(i\)\) /, '']],
    places: objective('returns', 'policy-gradient', 'importance-weights', 'value-losses', 'critic-losses', 'planning'),
  },
  {
    fault: 'a discount or a lambda is left out, or goes another way',
    changes: [
      [/\bgamma \* (?=\(?next|lambda|\(shared|\(1)/, ''],
      [/\b(turnGamma|turnLambda) \* (?=next|adv|turnL)/, ''],
      [/(?<=gamma \* )lambda \* /, ''],
    ],
    places: objective('returns', 'critic-losses', 'value-losses', 'collaborative-returns'),
  },
  {
    fault: 'a bound of the policy loss is on another side, or left out',
    changes: [
      [/1 - clipLow(?=\), 1)/, '1 + clipLow'],
      [/bounded > free/, 'bounded >= free'],
      [/A < 0 && -dualClip/, 'A > 0 && -dualClip'],
      [/moved > clipHigh : moved < -clipLow/, 'moved > clipLow : moved < -clipHigh'],
      [/Math\.abs\(kl\) > max \? 0 : /, ''],
      [/ofLogp \|\| Math\.abs\(mean\) > MAX_EXPONENT/, 'ofLogp'],
      [/clippedError > error/, 'clippedError >= error'],
    ],
    places: objective('policy-terms', 'policy-gradient', 'value-losses'),
  },
  {
    fault: 'a derivative has another sign or scale',
    changes: [
      [/slope: -4 \*/, 'slope: 4 *'],
      [/\[k3, -ratio\]/, '[k3, ratio]'],
      [/slopes \/ count/, 'slopes'],
      [/(?<== -?)2 \* scale/, 'scale'],
      [/\(-w \* u\) \//, '(w * u) /'],
      [/(?<=\* )\(1 - y\)(?= \* sigmoid)|(?<=\()\(1 - y\)(?= \* sigmoid)/, '1'],
      [/-entropyCoef \* weight/, 'entropyCoef * weight'],
      [/-cqlCoef \/ den/, 'cqlCoef / den'],
    ],
    places: objective('policy-terms', 'policy-gradient', 'value-losses', 'critic-losses'),
  },
  {
    fault: 'a group has another deviation, baseline or group of one',
    changes: [
      [/\(count - ddof\)/, 'count'],
      [/if \(equal\) return .*std: 0.*/, ''],
      [/own\.length \/ \(own\.length - 1\)/, '1'],
      [/mean <= 0 \? 0 : /, ''],
      [/return 1 \+ epsilon/, 'return epsilon'],
      [/ && singletons === 'zero'/, ''],
      [/observations\[t - k\]/, 'observations[t]'],
      [/\(k \+ 1\) \*\* power/, '1'],
      [/if \(equal\) continue;/, ''],
    ],
    places: objective('moments', 'group-norm', 'step-advantages'),
  },
  {
    fault: 'a value or a bonus comes from another answer',
    changes: [
      [/now \* alpha1/, 'now * alpha0'],
      [/othersNext \* beta1/, 'othersNext * beta0'],
      [/others\(t \+ 1\)/, 'others(t)'],
      [/\(values\[i\] as number\) > threshold/, '(values[i] as number) >= threshold'],
      [/ > 1\) \{/, ' > 0) {'],
      [/leafSum \/ leafCount/, 'leafSum / own.length'],
      [/count < 2 \? NaN/, 'count < 1 ? NaN'],
    ],
    places: objective('collaborative-returns', 'rollout-values'),
  },
  {
    fault: 'micro-batches are averaged by their own counts',
    changes: [[/divisor\('denominator', value, counted\)/, 'counted + 0 * divisor("", value, 1)']],
    places: objective('host-call'),
  },
];
