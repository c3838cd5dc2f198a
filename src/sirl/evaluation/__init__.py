"""What changed: defence, over-refusal, capability, and the entropy gap."""
