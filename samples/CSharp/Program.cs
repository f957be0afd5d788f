// Pre-trains a small robust encoder on the embedded images, then attacks it: dotnet run -c Release
using System;
using AdvContrast;

var options = new PretrainOptions
{
    Method = "acl-ds",
    Network = "small",
    Images = 1000,
    Epochs = 2,
    Batch = 250,
    Optimizer = "adam",
    Threat = Threat.Linf(0.1),
    Out = "runs/csharp",
};

await foreach (var step in Workbench.PretrainSteps(options))
    Console.WriteLine($"step {step.Step} of {step.Steps}: loss {step.Loss:F3}");

using var encoder = Encoder.Load(options.Out);
var result = await Workbench.EvaluateAsync(encoder);
foreach (var accuracy in result.Accuracies) Console.WriteLine($"{accuracy.Name,-6} {accuracy.Fraction:P1}");
