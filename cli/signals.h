#pragma once
// SIGINT, SIGTERM and SIGUSR1 ask for a clean stop: loops finish their step, save what they have and return.

namespace usol::cli {

/// Catches the three signals; a second SIGINT ends the process at once. They also end every wait of io/wait.h. Writes
/// beyond a file size limit become errors instead of SIGXFSZ, writes to a pipe without a reader instead of SIGPIPE.
void install_signal_handlers();
/// The first signal caught, 0 if none: loops ask between steps.
int pending_signal();
/// As if this signal had been caught, if none was before: it came to another process that does the same work.
void note_signal(int number);
/// Throws Error(kInterrupted) if a signal is pending: for places with nothing to save.
void throw_if_interrupted();

}  // namespace usol::cli
