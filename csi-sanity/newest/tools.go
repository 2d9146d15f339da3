//go:build tools

// Package tools keeps the suite in go.mod, which only lists what some file imports.
package tools

import _ "github.com/kubernetes-csi/csi-test/v5/cmd/csi-sanity"
