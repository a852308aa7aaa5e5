package compile

import (
	"archive/tar"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"time"

	"github.com/containerd/errdefs"

	"hooksmith/build/docker"
)

// Stage is a stage of the Dockerfile.
type Stage string

// The stages.
const (
	Toolchain    Stage = "toolchain"           // what compiles
	Configurator Stage = "kernel-configurator" // and what menuconfig needs
)

// toolchainSpace is what the toolchain takes in Docker's data folder.
const toolchainSpace = 1500 << 20

// reference is the name of the toolchain's image: by what makes it.
func (s Stage) reference() string {
	sum := sha256.Sum256(dockerfile)
	name := "hooksmith-kernel-toolchain"
	if s == Configurator {
		name = "hooksmith-kernel-configurator"
	}
	return name + ":" + hex.EncodeToString(sum[:])[:12]
}

// MakeToolchain makes the image of the Builder's stage, unless the daemon has it,
// as Open does: for those who open several workspaces at once.
func (b *Builder) MakeToolchain(ctx context.Context) (ref string, err error) {
	d, err := b.Docker.Connect(ctx)
	if err != nil {
		return "", err
	}
	defer d.Close()
	return b.toolchain(ctx, d)
}

// toolchain makes the image of a stage, unless the daemon has it.
func (b *Builder) toolchain(ctx context.Context, d *docker.Daemon) (ref string, err error) {
	stage := b.Stage
	if stage == "" {
		stage = Toolchain
	}
	ref = stage.reference()
	_, err = d.ImageInspect(ctx, ref)
	if err == nil || !errdefs.IsNotFound(err) {
		return ref, d.Explain(err)
	}
	if err := b.localSpace(ctx, d, toolchainSpace, "the compilers"); err != nil {
		return "", err
	}
	task := b.begin("building "+ref, 0)
	defer func() { task.Done(err) }()
	err = d.Build(ctx, docker.Build{
		Name: "the kernel's toolchain", Tag: ref, Target: string(stage), Network: b.Network,
		Context: writeDockerfile, Output: b.raw(),
		Retry: func(reason string) { b.log().Warn(reason) },
	})
	switch {
	case errors.Is(err, docker.ErrBaseImage):
		err = hintf(err, "where debian:stable cannot be pulled, make it of Debian's packages: sudo scripts/debian-base.sh base.tar && docker import base.tar debian:stable")
	case isNoSpace(err):
		err = noSpace(err, "the compilers", toolchainSpace)
	}
	return ref, err
}

func writeDockerfile(_ context.Context, w io.Writer) error {
	tw := tar.NewWriter(w)
	h := &tar.Header{Name: "Dockerfile", Mode: 0o644, Size: int64(len(dockerfile)), ModTime: time.Unix(0, 0)}
	if err := tw.WriteHeader(h); err != nil {
		return err
	}
	if _, err := tw.Write(dockerfile); err != nil {
		return err
	}
	return tw.Close()
}
