"""The command line: verbs, text or JSON, exit codes. It wires; each verb imports only what it needs, so that it starts fast."""
