"""What every training run needs, in pretraining and in alignment: averages, a resumable state, rates."""
