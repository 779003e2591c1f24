"""What is looked at while a model is trained: history, validation, drift, previews, alarms, figures."""
