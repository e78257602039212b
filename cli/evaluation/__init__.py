"""How good the answers are: judged questions asked through the gateway, measured, compared, calibrated."""
