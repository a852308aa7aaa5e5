// Package docker finds a Docker daemon as the docker command finds it, and
// builds images with it.
//
// In: a Config, which says where to look (DOCKER_HOST, contexts, ssh://, TLS,
// rootless sockets). Out: a Daemon, which is the API's client, that can
// explain why it does not answer; Daemon.Build makes an image of a build
// context with BuildKit where the daemon has it and with the classic builder
// where not, with the credentials of docker's configuration.
//
// BuildKit's session (session.go) and its progress records (protobuf.go) are
// read without BuildKit's own packages, which bring gRPC with them.
//
// Open config.go first, then build.go.
package docker
