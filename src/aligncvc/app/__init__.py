"""A page in the browser: upload a picture, watch the four steps, turn the model, save it. Needs gradio."""
