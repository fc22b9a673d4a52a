#pragma once
// SIGINT, SIGTERM and SIGUSR1 ask for a clean stop: loops finish their step, save what they have and return.

namespace usol::cli {

/// Catches the three signals. The first one is answered at once, by a line on stderr if this process `speaks`: the step
/// in hand may take long. A second SIGINT or SIGTERM ends the process where it is; files are whole or absent then
/// (io/atomic_file.h). What comes within 0.3 s of the first one is the same request, delivered twice, as `timeout` and
/// mpirun do it; SIGUSR1 is a notice of the time limit and no such request. All three also end every wait of io/wait.h.
/// Writes beyond a file size limit become errors instead of SIGXFSZ, writes to a pipe without a reader instead of
/// SIGPIPE.
void install_signal_handlers(bool speaks = true);
/// The first signal caught, 0 if none: loops ask between steps.
int pending_signal();
/// As if this signal had been caught, if none was before: it came to another process that does the same work.
void note_signal(int number);

}  // namespace usol::cli
