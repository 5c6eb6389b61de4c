"""What stands between supervisord and a rest-server: one at a time, on a fresh socket, shut in. A room without any import of ours."""
