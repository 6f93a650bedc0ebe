//go:build soak

package fcttest

const soak = true
