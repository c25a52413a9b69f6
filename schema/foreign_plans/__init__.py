"""Parameter files of PtyRAD and plans of phaser as settings of this program (docs/ptyrad-phaser-parity.md)."""
