"""Arithmetic: adder trees and dot products."""
