// Mix ops, on finished float values, and the chain op. A mix's first arguments are its partners' rows.
#pragma once
#include "op.h"

namespace ae { namespace AE_ISA {

AE_FN Patch mixup(const double* args, int i, int h, int w) {
  if (i > 0) return {};
  return {(int)args[0], 0, 0, h, w, 0, 0, true, (float)args[1], (float)(1.0 - args[1])};
}

AE_FN Patch cutmix(const double* args, int i, int h, int w) {
  if (i > 0) return {};
  const int top = (int)args[1], left = (int)args[2];
  const int height = min_of((int)args[3], h - top), width = min_of((int)args[4], w - left);
  return {(int)args[0], top, left, height, width, 0, 0, false, 0.0f, 1.0f};
}

// Patches 0 to 3 stand top left, top right, bottom left, bottom right; the first is the sample's own.
AE_FN Patch ricap(const double* args, int i, int h, int w) {
  const int bx = (int)args[3], by = (int)args[4];
  const int top = i < 2 ? 0 : by, left = i % 2 ? bx : 0;
  const int height = i < 2 ? by : h - by, width = i % 2 ? w - bx : bx;
  const int source = i == 0 ? -1 : (int)args[i - 1];
  return {source, top, left, height, width, (int)args[6 + 2 * i] - top, (int)args[5 + 2 * i] - left, false, 0.0f, 1.0f};
}

AE_FN bool is_empty(const Patch& p) { return p.height <= 0 || p.width <= 0; }

AE_FN bool contains(const Patch& p, int x, int y) {
  return x >= p.left && x < p.left + p.width && y >= p.top && y < p.top + p.height;
}

AE_FN float blended(const Patch& p, float own, float other) { return other * p.other + own * p.own; }

enum ChainAt : int { CHAIN_BEGIN, CHAIN_NEXT, CHAIN_END };  // as the choices of the op's `at`

AE_FN float chain(float sum, u8 v, const double* args) {
  const float part = (float)args[0] * (float)v;
  return (int)args[1] == CHAIN_BEGIN ? part : sum + part;
}

}}  // namespace
