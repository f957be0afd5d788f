namespace AdvContrast.Core.Data

/// The images of a network: channels, normalisation, classes.
type ImageInfo = {
    Channels: int64
    /// Mean and standard deviation of each channel, for the layer in front.
    Mean: float list
    Std: float list
    /// How many classes the images have.
    Classes: int
}
