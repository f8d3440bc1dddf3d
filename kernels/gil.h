// The interpreter's lock, let go while the engine works.
#pragma once
#include <Python.h>
#include <unistd.h>

namespace ae {

// Other Python threads run while it lives. As nanobind's gil_scoped_release, but for the interpreter's end: before 3.14
// CPython unwinds a thread that asks for the lock then, and what unwinds out of a destructor ends the process. Here such
// a thread sleeps until the process is gone, as CPython's own do from 3.14 on.
class Unlocked {
 public:
  Unlocked() : state_(PyEval_SaveThread()) {}
  Unlocked(const Unlocked&) = delete;
  ~Unlocked() {
    try {
      PyEval_RestoreThread(state_);
    } catch (...) {
      for (;;) pause();
    }
  }

 private:
  PyThreadState* state_;
};

}  // namespace ae
