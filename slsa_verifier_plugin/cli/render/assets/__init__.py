"""What the audit's page is made of; ``render_html`` puts it together."""
