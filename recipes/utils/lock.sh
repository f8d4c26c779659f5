# shellcheck shell=bash
# Locks that belong to an open file, descriptor 9: they end with the process, however that ends.

# lock LOCK_NB (status 1 where another has it) or LOCK_EX (waits for it). flock(2) through Python, which is here anyway, where flock(1)
# may not be; a file system without locks goes on without.
lock() {
  "${python:-python}" -c "
import fcntl, sys
try:
    fcntl.flock(9, fcntl.LOCK_EX | fcntl.$1)
except BlockingIOError:
    sys.exit(1)
except OSError:
    pass"
}
