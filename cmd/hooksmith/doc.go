// Command hooksmith builds HookOS, publishes it and serves it.
//
// This folder is wiring only: every subcommand is one file with one constructor that turns flags into an option struct,
// makes one library call and prints the result. Results go to stdout, everything else to stderr. It is the only place
// of the module that knows cobra, os.Args, os.Exit and the environment.
//
// Open main.go first (run: signals, exit codes), then root.go (the list of commands).
package main
