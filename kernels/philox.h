// Philox4x32-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011). A stream is the draws of one
// transform for one sample: key = seed, counter = (position << 16 | block, epoch, sample id).
#pragma once
#include "platform.h"

namespace ae { namespace AE_ISA {

struct Stream {
  u32 key[2], counter[4], words[4];
  int left;
};

AE_FN void philox(Stream& s) {
  u32 c0 = s.counter[0], c1 = s.counter[1], c2 = s.counter[2], c3 = s.counter[3], k0 = s.key[0], k1 = s.key[1];
  for (int round = 0; round < 10; round++, k0 += 0x9E3779B9u, k1 += 0xBB67AE85u) {
    const u64 a = (u64)0xD2511F53u * c0, b = (u64)0xCD9E8D57u * c2;
    c0 = (u32)(b >> 32) ^ c1 ^ k0;
    c1 = (u32)b;
    c2 = (u32)(a >> 32) ^ c3 ^ k1;
    c3 = (u32)a;
  }
  s.words[0] = c0; s.words[1] = c1; s.words[2] = c2; s.words[3] = c3;
  s.counter[0]++;
  s.left = 4;
}

// Writes field by field: a stream copied whole is waited for by the load behind its stores.
AE_FN void begin(Stream& s, u64 seed, u32 epoch, u64 sample_id, int position) {
  s.key[0] = (u32)seed;
  s.key[1] = (u32)(seed >> 32);
  s.counter[0] = (u32)position << 16;
  s.counter[1] = epoch;
  s.counter[2] = (u32)sample_id;
  s.counter[3] = (u32)(sample_id >> 32);
  s.left = 0;
}

AE_FN u32 draw(Stream& s) {
  if (s.left == 0) philox(s);
  return s.words[4 - s.left--];
}

AE_FN double uniform(Stream& s) { return (double)(draw(s) >> 8) * (1.0 / 16777216.0); }  // [0, 1), 24 bits
AE_FN double uniform(Stream& s, double lo, double hi) { return lo + (hi - lo) * uniform(s); }
AE_FN int below(Stream& s, int n) { return (int)(((u64)draw(s) * (u64)n) >> 32); }

}}  // namespace
